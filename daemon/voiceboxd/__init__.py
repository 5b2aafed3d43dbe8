"""The daemon: supervises providers, keeps the ledger of requests, and never holds a model or imports one's libraries."""
