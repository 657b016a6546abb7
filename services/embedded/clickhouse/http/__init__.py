"""HTTP as ClickHouse speaks it: requests, responses, formats, compression."""
