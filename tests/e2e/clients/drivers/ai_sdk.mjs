// The Vercel AI SDK, on the Responses API, which `openai(model)` means by default.
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, generateObject, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { CITY, WEATHER, callOf, run, weather } from "./protocol.mjs";

const model = (task, { name = task.model, url = task.url, key = task.key } = {}) =>
  createOpenAI({ baseURL: url, apiKey: key })(name);
const tools = (execute) => ({
  weather: tool({ description: "The weather in a city", inputSchema: jsonSchema(WEATHER), ...(execute ? { execute } : {}) }),
});
const asked = (task, fields = {}, where = {}) => ({
  model: model(task, where),
  prompt: task.prompt,
  maxRetries: 0,
  ...fields,
});
const callsOf = (calls) => calls.map((call) => callOf(call.toolName, call.input));

run({
  async chat(task) {
    const answer = await generateText(asked(task, { maxOutputTokens: task.scenario.max_tokens }));
    return { text: answer.text, finish: answer.finishReason, completion_tokens: answer.usage.outputTokens };
  },
  async stream(task) {
    const answer = streamText(asked(task));
    const texts = [];
    for await (const text of answer.textStream) texts.push(text);
    return {
      text: texts.join(""),
      deltas: texts.length,
      finish: await answer.finishReason,
      completion_tokens: (await answer.usage).outputTokens,
    };
  },
  async tool_loop(task) {
    const answer = await generateText(
      asked(task, { tools: tools(async ({ city }) => weather(city)), stopWhen: stepCountIs(4) }),
    );
    // A further turn refers to the first's items, as the SDK does by default.
    const further = await generateText({
      model: model(task),
      maxRetries: 0,
      messages: [{ role: "user", content: task.prompt }, ...answer.response.messages, { role: "user", content: "Thanks" }],
    });
    if (!further.text) throw new Error("no further answer");
    return { calls: callsOf(answer.steps.flatMap((step) => step.toolCalls)), words: answer.text.split(/\s+/).length };
  },
  async tools_stream(task) {
    const answer = streamText(asked(task, { tools: tools() }));
    for await (const _ of answer.fullStream);
    return { calls: callsOf(await answer.toolCalls) };
  },
  async required_tool(task) {
    return { calls: callsOf((await generateText(asked(task, { tools: tools(), toolChoice: "required" }))).toolCalls) };
  },
  async structured(task) {
    return { data: (await generateObject(asked(task, { schema: jsonSchema(CITY) }))).object };
  },
  async logprobs(task) {
    const answer = await generateText(asked(task, { providerOptions: { openai: { logprobs: 2 } } }));
    return { logprobs: answer.providerMetadata.openai.logprobs[0].length };
  },
  async error(task) {
    const { model: name, max_tokens = 5, key } = task.scenario;
    try {
      await generateText(asked(task, { maxOutputTokens: max_tokens }, { name, key }));
    } catch (refusal) {
      if (!APICallError.isInstance(refusal)) throw refusal;
      return { status: refusal.statusCode, code: JSON.parse(refusal.responseBody).error.code };
    }
    return {};
  },
  async retry(task) {
    return { text: (await generateText(asked(task, { maxRetries: 2 }, { url: task.flaky_url }))).text };
  },
  async timeout(task) {
    const abortSignal = AbortSignal.timeout(task.scenario.timeout_s * 1000);
    try {
      await generateText(asked(task, { abortSignal }, { name: task.slow_model }));
    } catch (error) {
      return { timed_out: error.name === "TimeoutError" || error.name === "AbortError" };
    }
    return {};
  },
  async cancellation(task) {
    const leaving = new AbortController();
    const answer = streamText(asked(task, { abortSignal: leaving.signal }, { name: task.slow_model }));
    for await (const text of answer.textStream) {
      if (text) {
        leaving.abort();
        break;
      }
    }
    return { cancelled: true };
  },
});
