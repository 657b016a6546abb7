"""The parameters that say which span of time is asked about."""

from pydantic import BaseModel, Field

from services.common.http.problems import malformed
from services.console.domain.cost_query import CostRequest


class SpanParameters(BaseModel, extra="forbid"):
    """A day means its beginning in the time zone; so `to` is the first day that does not
    count. What is sent empty is refused: a filter that was forgotten would be none.
    """

    from_: str = Field(
        "", alias="from", description="A day, or a time with its offset.", min_length=1, max_length=40
    )
    to: str = Field("", description="The same; left out: now.", min_length=1, max_length=40)
    days: int = Field(description="Instead of `from`: so many days up to now, today being one.")
    time_zone: str = Field("UTC", max_length=64, description="A name such as Europe/Paris.")

    def request(self, group_by: str = "") -> CostRequest:
        """The span as text.

        Raises:
            ProblemError: 400, it has two beginnings.
        """
        if self.from_ and "days" in self.model_fields_set:
            raise malformed("days: leave it out where `from` says when to begin.", "days")
        return CostRequest(self.from_, self.to, self.days, self.time_zone, group_by)
