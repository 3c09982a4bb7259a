"""An InternVL of 140 thousand parameters, random or taught one answer, in the files of a real "-hf" checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    InternVLVisionConfig,
    Qwen2Config,
    Qwen2Tokenizer,
)

TILE, PATCH = 56, 14
TOKENS_PER_TILE = (TILE // PATCH) ** 2 // 4
# As in the real checkpoints: one placeholder per picture, which the processor spreads over its tokens.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TAUGHT = {
    "short": "a small thing",
    "medium": "a small thing with a soft outline",
    "long": "The small thing has a soft outline and many colours. It stays near the middle. Its shade changes often.",
}
"""The answer of a network that was taught to talk, whatever it is shown."""
STEPS, RATE = 30, 0.01


def save_tiny_internvl(folder: Path) -> None:
    """Write a random network: config.json, generation_config.json, model.safetensors and the processor's files."""
    tokenizer = _tokenizer()
    model = _model(tokenizer)
    _liven(model)
    _save(model, tokenizer, folder)


def save_talking_internvl(folder: Path) -> None:
    """Write a network that answers with `TAUGHT`; every piece of the answer is a token that no prompt has."""
    pieces = _pieces(json.dumps(TAUGHT))
    tokenizer = _tokenizer(pieces)
    model = _model(tokenizer)
    _teach(model, tokenizer, tokenizer.convert_tokens_to_ids([_as_bytes(piece) for piece in pieces]))
    _save(model, tokenizer, folder)


def _pieces(text: str) -> list[str]:
    """The text cut after every third word: no piece comes twice."""
    words = [f"{word} " for word in text.split(" ")]
    words[-1] = words[-1].rstrip()
    return ["".join(words[place : place + 3]) for place in range(0, len(words), 3)]


def _as_bytes(text: str) -> str:
    """The text as the vocabulary spells it."""
    ((spelt, _),) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    return spelt


def _teach(model: InternVLForConditionalGeneration, tokenizer: Qwen2Tokenizer, answer: Sequence[int]) -> None:
    """A few steps on the answer alone. With attention switched off no picture and no prompt can disturb it."""
    for name, parameter in model.named_parameters():
        if "language_model" in name and name.endswith("o_proj.weight"):
            torch.nn.init.zeros_(parameter).requires_grad_(False)
    start = tokenizer("<|im_start|>assistant\n")["input_ids"][-1]
    tokens = torch.tensor([[start, *answer, tokenizer.convert_tokens_to_ids("<|im_end|>")]])
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learning, RATE)
    for _ in range(STEPS):
        loss = model(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _model(tokenizer: Qwen2Tokenizer) -> InternVLForConditionalGeneration:
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=[TILE, TILE],
            patch_size=[PATCH, PATCH],
            attention_bias=True,
        ),
        text_config=Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=128,
            max_position_embeddings=4096,
            bos_token_id=None,
            eos_token_id=end,
            pad_token_id=tokenizer.pad_token_id,
        ),
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=TOKENS_PER_TILE,
    )
    torch.manual_seed(0)
    model = InternVLForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = end
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def _save(model: InternVLForConditionalGeneration, tokenizer: Qwen2Tokenizer, folder: Path) -> None:
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(
            size={"height": TILE, "width": TILE}, crop_to_patches=True, min_patches=1, max_patches=4
        ),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size={"height": TILE, "width": TILE}),
        image_seq_length=TOKENS_PER_TILE,
        chat_template=CHAT_TEMPLATE,
    )
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _liven(model: InternVLForConditionalGeneration) -> None:
    """Make random weights so large that the answer depends on the pictures; small ones repeat one token."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)


def _tokenizer(pieces: Sequence[str] = ()) -> Qwen2Tokenizer:
    """Every byte one token, and no merges: `pieces` are tokens that no text is cut into."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
    vocabulary = {token: place for place, token in enumerate([*sorted(ByteLevel.alphabet()), *special])}
    vocabulary |= {_as_bytes(piece): len(vocabulary) + place for place, piece in enumerate(pieces)}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=4096,
        padding_side="left",
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>"]}, replace_extra_special_tokens=False)
    return tokenizer
