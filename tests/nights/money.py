"""US dollars per row of the local model and of the three models."""

from decimal import Decimal

LOCAL = Decimal(0)
USD = (Decimal("0.00025"), Decimal("0.00074"), Decimal("0.00124"))
