"""What clients and providers are told of a request, from the books as they stand."""

from __future__ import annotations

from voicebox_protocol import schema
from voiceboxd.chunk_rules import marks_in_request
from voiceboxd.effects import ToClient
from voiceboxd.request import HeardPart, Held, Request, Verdict, Work, segment_seed

# Together with the message below what a header holds, however many bytes each character takes.
_RUNS_TOLD = 20
REASON_TOLD = 400
_WORDS_TOLD = 4096


def accepted(boot: str, request: Request) -> ToClient:
    """By whom and in what form it will be spoken."""
    assignment = request.assignment
    assert assignment is not None
    message = schema.Accepted(
        boot=boot,
        req=request.req,
        seed=request.seed,
        sample_rate=assignment.sample_rate,
        provider=assignment.provider,
        voice=assignment.voice,
        language=language_of(request),
    )
    return ToClient(request.session, message)


def language_of(request: Request) -> str | None:
    """What it is spoken in. The voice of a recording has no language of its own: where none is asked for, its engine finds out."""
    assert request.assignment is not None
    return request.assignment.language if request.prompt is None else request.say.language


def notice(boot: str, request: Request, code: str, words: str) -> ToClient:
    """Something worth telling on the way."""
    return ToClient(request.session, schema.Notice(boot=boot, req=request.req, code=code, message=words[:_WORDS_TOLD]))


def synthesize(
    boot: str, request: Request, work: Work, epoch: int, now: float, free: list[tuple[int, int]] | None
) -> schema.Synthesize:
    """The order to speak one of its segments."""
    say, assignment = request.say, request.assignment
    assert assignment is not None
    assert work.attempt is not None
    return schema.Synthesize(
        boot=boot,
        epoch=epoch,
        req=request.req,
        attempt=work.attempt,
        segment=work.segment.number,
        voice=assignment.voice,
        language=language_of(request),
        model=say.model,
        instruct=say.instruct,
        speed=say.speed,
        pitch=say.pitch,
        volume=say.volume,
        seed=segment_seed(request.seed, work.segment.number),
        sample_rate=assignment.sample_rate,
        options=say.options,
        from_frame=work.frames or None,
        state=(work.state or None) if work.frames else None,
        deadline_ms=None if request.deadline is None else max(0, int((request.deadline - now) * 1000)),
        free_slots=free,
    )


def chunk(boot: str, request: Request, work: Work, held: Held) -> ToClient:
    """Sound, as the next of the request's pieces."""
    message = schema.Chunk(
        boot=boot,
        req=request.req,
        attempt=held.chunk.attempt,
        segment=work.segment.number,
        seq=request.seq,
        descriptors=held.chunk.descriptors,
        char_start=work.segment.start,
        char_end=work.segment.end,
        marks=marks_in_request(held.chunk.marks, work),
    )
    return ToClient(request.listener, message, held.payload)


def terminal(boot: str, request: Request, verdict: Verdict, now: float, heard: HeardPart | None) -> ToClient:
    """How it ended, and, at the loudspeaker, what was heard of it."""
    speaker, error = request.speaker, verdict.error
    fields = {
        "boot": boot,
        "req": request.req,
        "provider": speaker.provider if speaker else None,
        "voice": speaker.voice if speaker else None,
        "sample_rate": request.assignment.sample_rate if request.assignment else None,
        "frames": request.frames,
        "segments": request.segments,
        "delivered_chars": request.delivered_chars,
        "seed": request.seed,
        "resumed": request.resumed,
        "attempts": [run.as_map() for run in request.runs[-_RUNS_TOLD:]],
        "first_audio_ms": None if request.first_audio is None else (request.first_audio - request.arrived) * 1000,
        "total_ms": (now - request.arrived) * 1000,
    }
    if error is not None:
        fields |= {"code": error.code, "message": str(error)[:_WORDS_TOLD]}
    if verdict.kind == "Cancelled":
        fields["reason"] = verdict.reason
    if heard is not None:
        rate = request.assignment.sample_rate if request.assignment else 0
        fields |= {"heard_chars": heard.chars, "heard_s": heard.frames / rate if rate else 0.0}
    return ToClient(request.session, schema.STRUCTS[verdict.kind](**fields))
