"""The requests that a body asks for."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from schemas.inference import InferenceRequested, Lane, ReplyTo, Sampling
from schemas.topics import requests_topic
from services.common.bus import TopicPartition
from services.common.clock import Clock
from services.common.control.principal import Principal, user_of
from services.common.control.state import ControlState
from services.common.http.problems import malformed
from services.common.requests.model_catalogue import ModelConfig
from services.common.requests.request_ids import RequestKind, new_request_id
from services.gateway.bus.bus_clock import BusClock
from services.gateway.openai.catalogue import Catalogue
from services.gateway.openai.requests import ChatBody, CompletionBody
from services.gateway.openai.sampling_params import chat_sampling, completion_sampling, lane_of
from services.gateway.settings import Settings


@dataclass
class RequestMaker:
    """Makes requests of bodies. Nothing is taken or published for them."""

    settings: Settings
    catalogue: Catalogue
    bus_clock: BusClock
    state: Callable[[], ControlState]
    reply_partition: Callable[[], int]
    clock: Clock

    def chat(self, caller: Principal, body: ChatBody, *, stream: bool) -> list[InferenceRequested]:
        """The request of a chat completion.

        Raises:
            ProblemError: the body asks for what cannot be served.
        """
        model = self.catalogue.find(body.model, caller)
        sampling = chat_sampling(body, model, max_choices=self.settings.max_choices)
        return [
            self._request(
                caller, body, model, sampling, kind="chat", messages=tuple(body.messages), stream=stream
            )
        ]

    def completions(
        self, caller: Principal, body: CompletionBody, *, stream: bool
    ) -> list[InferenceRequested]:
        """The requests of a text completion, one for each prompt.

        Raises:
            ProblemError: the body asks for what cannot be served.
        """
        choices, most = len(body.prompts) * (body.n or 1), self.settings.max_choices
        if choices > most:
            raise malformed(
                f"prompt has {len(body.prompts)} texts with {body.n or 1} choices each; at most {most} "
                "choices are given.",
                "prompt" if len(body.prompts) > 1 else "n",
            )
        model = self.catalogue.find(body.model, caller)
        sampling = completion_sampling(body, model, max_choices=most)
        return [
            self._request(caller, body, model, sampling, kind="completion", prompt=prompt, stream=stream)
            for prompt in body.prompts
        ]

    def renewed(self, request: InferenceRequested) -> InferenceRequested:
        """The request with a later `accept_by`, for a call that waited before it is
        published.
        """
        return request.model_copy(update={"accept_by": self._accept_by(request.model, request.lane)})

    def _request(
        self,
        caller: Principal,
        body: ChatBody | CompletionBody,
        model: ModelConfig,
        sampling: Sampling,
        *,
        kind: RequestKind,
        **asked: Any,
    ) -> InferenceRequested:
        settings, now, lane = self.settings, self.clock(), lane_of(body, model)
        timeout_s = settings.interactive_timeout_s if lane is Lane.INTERACTIVE else settings.batch_timeout_s
        return InferenceRequested(
            request_id=new_request_id(
                kind, time_ms=self.bus_clock.now_ms(), random_bits=secrets.randbits(74)
            ),
            kind=kind,
            model=model.name,
            lane=lane,
            tenant=caller.tenant,
            key_id=caller.key_id,
            user=user_of(caller, body.user, pseudonym_key=settings.pseudonym_key.get_secret_value()),
            sampling=sampling,
            include_usage=body.include_usage,
            reply_to=ReplyTo(partition=self.reply_partition(), gateway_id=settings.instance),
            requested_at=now,
            deadline=now + timedelta(seconds=timeout_s),
            accept_by=self._accept_by(model.name, lane),
            share=None if (share := self.state().share_of(caller.tenant)) == 1 else share,
            **asked,
        )

    def _accept_by(self, model: str, lane: Lane) -> datetime | None:
        topic = TopicPartition(requests_topic(model, lane), 0)
        return self.bus_clock.latest_after(topic, self.settings.ack_timeout_s)
