"""OpenAI's wire: requests, sampling parameters, chunks, whole responses. Pure."""
