"""The pages: their routes, the review desk, a real browser."""
