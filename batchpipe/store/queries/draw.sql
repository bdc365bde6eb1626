-- The order in which rows are drawn: samples, the first of a limit.

-- name: draw_order
-- By the hash of the key as schema version 1 had it, a number that begins with the last byte of the md5: so a sample
-- stays as it was drawn. The bytes of `id` as hex digits, from the last to the first.
CREATE MACRO work.draw_order(id) AS concat(
    substr(id::VARCHAR, 35, 2), substr(id::VARCHAR, 33, 2), substr(id::VARCHAR, 31, 2), substr(id::VARCHAR, 29, 2),
    substr(id::VARCHAR, 27, 2), substr(id::VARCHAR, 25, 2), substr(id::VARCHAR, 22, 2), substr(id::VARCHAR, 20, 2),
    substr(id::VARCHAR, 17, 2), substr(id::VARCHAR, 15, 2), substr(id::VARCHAR, 12, 2), substr(id::VARCHAR, 10, 2),
    substr(id::VARCHAR, 7, 2), substr(id::VARCHAR, 5, 2), substr(id::VARCHAR, 3, 2), substr(id::VARCHAR, 1, 2)
)
