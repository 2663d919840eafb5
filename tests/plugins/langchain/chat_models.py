"""Chat models of LangChain that need no network: they answer, fail or hang as they are told."""

import asyncio

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult


class Scripted(BaseChatModel):
    """Answers with its name, or as its script says: an exception, a message, or ``"hang"``."""

    model: str
    script: list = []
    usage: tuple = (100, 10)
    asked: list = []

    @property
    def _llm_type(self):
        return "scripted"

    def _answer(self, messages):
        self.asked.append(messages)
        said = self.script.pop(0) if self.script else None
        if isinstance(said, BaseException):
            raise said
        if isinstance(said, AIMessage):
            return said
        given, taken = self.usage or (None, None)
        usage = {"input_tokens": given, "output_tokens": taken, "total_tokens": given + taken} if self.usage else None
        return AIMessage(said or f"{self.model} answered", usage_metadata=usage)

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages))])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        if self.script and self.script[0] == "hang":
            self.script.pop(0)
            self.asked.append(messages)
            await asyncio.Event().wait()
        return self._generate(messages)

    def bind_tools(self, tools, **kwargs):
        return self
