"""`python -m services.detection.training --data prompts.jsonl` trains the prompt
detector anew.
"""

from services.detection.training.train_prompt_model import main

main()
