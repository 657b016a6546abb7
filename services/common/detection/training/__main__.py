"""`python -m services.common.detection.training --data prompts.jsonl` trains the prompt
detector anew.
"""

from services.common.detection.training.train_prompt_model import main

main()
