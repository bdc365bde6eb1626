"""What batchpipe costs in CPU, time, memory and disk, beside a script without any state and a loop over the SDK."""
