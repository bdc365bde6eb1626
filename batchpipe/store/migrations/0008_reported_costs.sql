-- What a gateway itself says that a request cost, in US dollars. It stands beside the cost that is computed from tokens and
-- prices, by which budgets are held.

ALTER TABLE ledger.results ADD COLUMN IF NOT EXISTS reported_usd DECIMAL(38, 15);
