"""A real HTTP server on this machine that answers as vLLM, SGLang, ``transformers serve`` or a plain server would.

What it answers comes from a real model: scores from whole forward passes, generations from the packaged backend, so
that a draw of a seed is the same here and there. It can be told to break in the ways that servers do.
"""

import copy
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import torch

from core.backends.hf import HfBackend
from core.types import Decoding

FLAVOURS = ("vllm", "sglang", "transformers", "plain")


class Fault(Exception):
    """An answer other than 200."""

    def __init__(self, status, text="", headers=None):
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers or {}


@dataclass
class EngineServer:
    """What it is, how it breaks, and what it was asked.

    Attributes:
        models: name to model (the one to answer with). A copy answers: a request that outlives its client would
            otherwise compute in the model of another test.
        tokenizer: reads prompts that are texts; None refuses them.
        statuses: answered to the next requests with a body, one each, in place of an answer.
        largest: most prompts of one scoring request; a larger one is answered with status 500, as by a server whose
            memory ran out.
        spoil: changes an answer before it is sent.
        holds: whether the next answer waits for another request (``another``); the gate: while clear, answers wait.
        requests: (path, headers, body) of every request.
    """

    flavour: str
    models: dict
    tokenizer: object = None
    context: int = 64
    key: str = ""
    largest: int = 1_000
    statuses: list = field(default_factory=list)
    spoil: object = None
    holds: bool = False
    another: threading.Event = field(default_factory=threading.Event)
    requests: list = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def __post_init__(self):
        self.gate.set()
        self.lock = threading.Lock()
        self.at_once = self.most_at_once = 0
        self.models = {name: copy.deepcopy(model) for name, model in self.models.items()}
        self.backends = {name: HfBackend(model, model) for name, model in self.models.items()}

    def answer(self, method, path, headers, body):
        if self.key and headers.get("Authorization") != f"Bearer {self.key}":
            raise Fault(401, "wrong key")
        if path == "/v1/models" and self.flavour == "transformers":
            raise Fault(500, "Internal Server Error")  # as it does where there is no cache of models
        if path == "/v1/models":
            names = list(self.models)[: 1 if self.flavour == "sglang" else None]
            listed = [{"id": name, "object": "model"} for name in names]
            long = {"max_model_len": self.context} if self.flavour in ("vllm", "sglang") else {}
            return {"object": "list", "data": [one | long for one in listed]}
        self.gate.wait()
        if self.holds:
            self.holds = False
            self.another.clear()
            self.another.wait(60)
        if self.statuses:
            raise Fault(*self.statuses.pop(0))
        with self.lock:
            answer = self.routes(path)(body)
        return self.spoil(answer) if self.spoil else answer

    def routes(self, path):
        known = {"/v1/completions": self.completions} | ({"/generate": self.native} if self.flavour == "sglang" else {})
        if path not in known:
            raise Fault(404, "no such path")
        return known[path]

    # ------------------------------------------------------------------------------------------ /v1/completions

    def completions(self, body):
        model = self.models.get(body["model"])
        if model is None:
            raise Fault(404, f"no model {body['model']}")
        prompts = body["prompt"]
        if self.flavour == "transformers" and "prompt_logprobs" in body:
            raise Fault(422, "Unexpected fields in the request: {'prompt_logprobs'}")
        if self.flavour == "transformers" and not isinstance(prompts, str):
            raise Fault(400, "prompt must be a string.")
        rows = self.prompt_ids(prompts)
        if len(rows) > self.largest and body.get("prompt_logprobs"):
            raise Fault(500, "EngineCore encountered an issue")
        if any(len(row) + body["max_tokens"] > self.context for row in rows):
            raise Fault(400, f"This model's maximum context length is {self.context} tokens.")
        choices = [self.choice(body, i, ids) for i, ids in enumerate(rows)]
        usage = {"prompt_tokens": sum(map(len, rows)), "completion_tokens": 1}
        # Answers may come back in any order; the index says which is which.
        return {"object": "text_completion", "model": body["model"], "choices": choices[::-1], "usage": usage}

    def choice(self, body, i, ids):
        name = body["model"]
        configuration = json.loads(body.get("generation_config", "{}"))
        stops = body.get("stop_token_ids") or configuration.get("eos_token_id") or self.stops(body.get("stop"))
        temperature = configuration.get("temperature", 0.0) if configuration else body.get("temperature", 1.0)
        top_p = (configuration or body).get("top_p", 1.0)
        decoding = Decoding(temperature, body["max_tokens"], body.get("seed", 0), top_p)
        generation = self.backends[name].generate([np.array(ids)], [decoding], stops)[0]
        tokens = generation.tokens.tolist()
        words = tokens[:-1] if generation.stopped else tokens
        choice = {
            "index": i,
            "text": self.text(words),
            "finish_reason": "stop" if generation.stopped else "length",
        }
        if self.flavour == "vllm":
            choice["stop_reason"] = tokens[-1] if generation.stopped else None
            if body.get("return_token_ids"):
                choice["token_ids"] = tokens
            if body.get("prompt_logprobs") is not None:
                choice["prompt_logprobs"] = self.prompt_logprobs(name, ids, body["prompt_logprobs"])
        return choice

    def prompt_logprobs(self, name, ids, top):
        rows = [None]
        for place, chances in enumerate(self.logprobs(name, ids)[:-1], 1):
            order = np.argsort(-chances, kind="stable")
            shown = dict.fromkeys([ids[place], *order[:top].tolist()])
            ranks = {int(i): rank for rank, i in enumerate(order, 1)}
            rows.append(
                {str(i): {"logprob": float(chances[i]), "rank": ranks[i], "decoded_token": f"<{i}>"} for i in shown}
            )
        return rows

    # ------------------------------------------------------------------------------------------------- /generate

    def native(self, body):
        (name, *_) = self.models
        prompts = body.get("input_ids", body.get("text"))
        rows = self.prompt_ids(prompts)
        single = isinstance(prompts, str) or not isinstance(prompts[0], list)
        if len(rows) > self.largest and body.get("return_logprob"):
            raise Fault(500, "scheduler died")
        starts = body.get("logprob_start_len", -1)
        starts = starts if isinstance(starts, list) else [starts] * len(rows)
        answers = [self.native_answer(name, ids, body, start) for ids, start in zip(rows, starts, strict=True)]
        return answers[0] if single else answers

    def native_answer(self, name, ids, body, start):
        sampling = body["sampling_params"]
        if len(ids) >= self.context:
            raise Fault(400, "Input length exceeds the context length.")
        meta, tokens = {"prompt_tokens": len(ids), "finish_reason": {"type": "length"}}, []
        if sampling["max_new_tokens"]:
            stops = [] if sampling.get("ignore_eos") else sampling.get("stop_token_ids", [])
            decoding = Decoding(
                sampling["temperature"], sampling["max_new_tokens"], sampling.get("sampling_seed", 0),
                sampling.get("top_p", 1.0),
            )  # fmt: skip
            generation = self.backends[name].generate([np.array(ids)], [decoding], stops)[0]
            tokens = generation.tokens.tolist()
            if generation.stopped:
                meta["finish_reason"] = {"type": "stop", "matched": tokens[-1]}
        if body.get("return_logprob") and start >= 0:
            chances = np.vstack([np.zeros((1, len(self.logprobs(name, ids)[0]))), self.logprobs(name, ids)])
            own = [[None if p == start else float(chances[p][ids[p]]), ids[p], None] for p in range(start, len(ids))]
            top = body.get("top_logprobs_num", 0)
            tops = [
                None if p == start else [[float(chances[p][i]), int(i), None] for i in np.argsort(-chances[p])[:top]]
                for p in range(start, len(ids))
            ]
            meta |= {"input_token_logprobs": own, "input_top_logprobs": tops}
        return {"text": self.text(tokens), "output_ids": tokens, "meta_info": meta}

    # ----------------------------------------------------------------------------------------------- the model

    def prompt_ids(self, prompts):
        if isinstance(prompts, str):
            return [self.tokenizer(prompts)["input_ids"]]
        return prompts if isinstance(prompts[0], list) else [prompts]

    def stops(self, texts):
        return [] if not texts else self.tokenizer.convert_tokens_to_ids(texts)

    def text(self, ids):
        return "" if self.tokenizer is None else self.tokenizer.decode(ids, skip_special_tokens=False)

    @torch.no_grad()
    def logprobs(self, name, ids):
        return self.models[name](input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1).numpy()


@contextmanager
def serving(flavour, models, **options):
    """An ``EngineServer`` that is listening; ``url`` is its address before ``/completions``."""
    engine = EngineServer(flavour, models, **options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            headers = dict(self.headers)
            engine.requests.append((self.path, headers, body))
            engine.another.set()
            with counting:
                engine.at_once += 1
                engine.most_at_once = max(engine.most_at_once, engine.at_once)
            try:
                status, extra, sent = 200, {}, json.dumps(engine.answer(self.command, self.path, headers, body))
            except Fault as fault:
                status, extra, sent = fault.status, fault.headers, json.dumps({"error": {"message": fault.text}})
            finally:
                with counting:
                    engine.at_once -= 1
            try:
                self.send_response(status)
                for name, value in ({"Content-Type": "application/json"} | extra).items():
                    self.send_header(name, value)
                data = sent.encode()
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except ConnectionError:
                pass  # the other side has gone

        do_GET = do_POST = reply

        def log_message(self, *args):
            pass

    counting = threading.Lock()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    engine.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield engine
    finally:
        engine.gate.set()
        engine.another.set()
        server.shutdown()
        thread.join()
        server.server_close()
