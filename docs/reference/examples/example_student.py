"""A student: a small BERT from scratch that reads bytes, so it needs neither weights nor a vocabulary."""

from armada_cli import Component, Student, StudentOutput, UserError, hookimpl
from armada_cli.models import hub

POSITIONS = 512


class Bytes(Student):
    def build(self, problem, weights=None, *, new_head=False):
        from transformers import BertConfig, BertForSequenceClassification

        if problem.kind != "classification":
            raise UserError(f"student bytes cannot do a task of kind {problem.kind}", "Choose one of kind classification")
        attention = "eager" if problem.attentions else "sdpa"
        if weights is not None:
            model = BertForSequenceClassification.from_pretrained(
                weights,
                use_safetensors=True,
                num_labels=problem.outputs,
                ignore_mismatched_sizes=True,
                attn_implementation=attention,
            )
            if new_head:
                hub.draw_new_head(model)
            return model
        return BertForSequenceClassification(
            BertConfig(
                vocab_size=257,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=64,
                max_position_embeddings=POSITIONS,
                num_labels=problem.outputs,
                attn_implementation=attention,
            )
        )

    def encode(self, texts, problem):
        longest = min(problem.max_length, POSITIONS)
        return [{"input_ids": [byte + 1 for byte in "\n".join(text).encode()[:longest]] or [0]} for text in texts]

    def pad(self, examples):
        """-> input_ids and attention_mask, long [n, tokens]; 0 is padding."""
        import torch

        rows = [torch.tensor(example["input_ids"]) for example in examples]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}

    def forward(self, model, batch, hidden_states=False, attentions=False):
        output = model.bert(**batch, output_hidden_states=hidden_states, output_attentions=attentions)
        logits, pooled = model.classifier(output.pooler_output), output.pooler_output
        return StudentOutput(logits, pooled, output.hidden_states, attentions=output.attentions)

    def save(self, model, problem, folder):
        model.save_pretrained(folder)


@hookimpl
def armada_students():
    return [Component("bytes", "A small BERT from scratch that reads bytes", "example_student:Bytes", provides={"encoder"})]
