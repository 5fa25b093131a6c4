"""The genuine Python SDKs of OpenAI and Anthropic against the model gateway; started by models.test.js."""

import os

import anthropic
import openai

url, token = os.environ["MODELS_URL"], os.environ["MODELS_TOKEN"]
o = openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0)
a = anthropic.Anthropic(base_url=url, api_key=token, max_retries=0)
hi = [{"role": "user", "content": "hi"}]
schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

assert [m.id for m in o.models.list()] == ["m", "slow"]
assert [m.id for m in a.models.list()] == ["m", "slow"]
for model in ["open/m", "anth/m"]:
    whole = o.chat.completions.create(model=model, messages=hi)
    assert whole.choices[0].message.content == "hello" and whole.usage.total_tokens == 13
    with o.chat.completions.stream(model=model, messages=hi) as stream:
        assert stream.get_final_completion().choices[0].message.content == "hello"
    tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
    pieces = o.chat.completions.create(model=model, messages=hi, tools=tools, stream=True)
    calls = [c for p in pieces if p.choices for c in (p.choices[0].delta.tool_calls or [])]
    assert "".join(c.function.arguments for c in calls) == '{"city":"Bern"}'
    with o.responses.stream(model=model, input="hi") as stream:
        for _ in stream:
            pass
        final = stream.get_final_response()
    assert final.output_text == "hello" and final.usage.total_tokens == 13
    message = a.messages.create(model=model, max_tokens=9, messages=hi)
    assert message.content[0].text == "hello"
    with a.messages.stream(model=model, max_tokens=9, messages=hi, tools=[{"name": "weather", "input_schema": schema}]) as stream:
        message = stream.get_final_message()
    assert message.content[0].input == {"city": "Bern"} and message.stop_reason == "tool_use"
    assert a.messages.count_tokens(model=model, messages=hi).input_tokens > 0

for call, wanted in [
    (lambda: o.chat.completions.create(model="none", messages=hi), openai.NotFoundError),
    (lambda: o.responses.create(model="open/m", input="x", store=True), openai.BadRequestError),
    (lambda: a.messages.create(model="open/m", max_tokens=1, messages=hi, extra_body={"top_k": 2}), anthropic.BadRequestError),
    (lambda: a.with_options(api_key="wrong").models.list(), anthropic.AuthenticationError),
]:
    try:
        call()
    except wanted:
        continue
    raise AssertionError(f"no {wanted.__name__}")
print("python: ok")
