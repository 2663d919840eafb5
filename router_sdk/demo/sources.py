"""Where public data sets come from: their licences ask every report to name them."""

from __future__ import annotations

SOURCES = {
    "clinc150": "clinc/oos-eval, CC BY 3.0; Larson et al., EMNLP 2019",
    "banking77": "PolyAI task-specific-datasets, CC BY 4.0; Casanueva et al. 2020",
    "gsm8k_two_models": "lm-sys/RouteLLM evaluations (Mixtral-8x7B and GPT-4), Apache-2.0",
    "mmlu_two_models": "lm-sys/RouteLLM evaluations (Mixtral-8x7B and GPT-4), Apache-2.0",
    "nine_models": "ulab-uiuc/LLMRouter, MIT",
}
"""Attribution by the file's name without its endings."""
