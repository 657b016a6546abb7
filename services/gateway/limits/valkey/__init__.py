"""Limits that several gateways share exactly, in Valkey or Redis."""
