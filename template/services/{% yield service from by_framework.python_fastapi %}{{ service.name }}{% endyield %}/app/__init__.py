"""An HTTP service that answers for items."""
