"""What prompts and answers look like where an engine generates plain tokens: messages as
text, JSON and tool calls by grammar.
"""
