"""The pages of `batchpipe ui` and `batchpipe serve`: a small web server on loopback that looks and reviews.

Input: the values that commands read, and the reviews of people at the review desk.
Output: pages of HTML made of blocks, and the same values as JSON.
It runs nothing. It writes reviews by `engine.quality`, approvals of pilots and cancels by the code of their commands.
"""
