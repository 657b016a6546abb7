"""OpenAI's Responses API on top of chat: bodies, items, events. Pure."""
