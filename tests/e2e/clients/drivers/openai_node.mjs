// The openai SDK for Node.
import OpenAI from "openai";
import { CITY, TOOL, callOf, run, weather } from "./protocol.mjs";

const sdk = (task, options = {}) => new OpenAI({ baseURL: task.url, apiKey: task.key, maxRetries: 0, ...options });
const create = (task, fields, options) =>
  sdk(task, options).chat.completions.create({ model: task.model, messages: task.messages, ...fields });
const callsOf = (message) => message.tool_calls.map((call) => callOf(call.function.name, call.function.arguments));

run({
  async chat(task) {
    const answer = await create(task, "max_tokens" in task.scenario ? { max_tokens: task.scenario.max_tokens } : {});
    const [choice] = answer.choices;
    return { text: choice.message.content, finish: choice.finish_reason, completion_tokens: answer.usage.completion_tokens };
  },
  async stream(task) {
    const chunks = [];
    for await (const chunk of await create(task, { stream: true, stream_options: { include_usage: true } })) chunks.push(chunk);
    const choices = chunks.flatMap((chunk) => chunk.choices);
    const texts = choices.map((choice) => choice.delta.content).filter(Boolean);
    return {
      text: texts.join(""),
      deltas: texts.length,
      finish: choices.at(-1).finish_reason,
      completion_tokens: chunks.at(-1).usage.completion_tokens,
    };
  },
  async tool_loop(task) {
    const runner = sdk(task).chat.completions.runTools({
      model: task.model,
      messages: task.messages,
      tools: [{ type: "function", function: { ...TOOL.function, function: ({ city }) => weather(city), parse: JSON.parse } }],
    });
    const answer = await runner.finalContent();
    const calls = runner.messages.filter((message) => message.tool_calls?.length).flatMap(callsOf);
    return { calls, words: answer.split(/\s+/).length };
  },
  async tools_stream(task) {
    const stream = sdk(task).chat.completions.stream({ model: task.model, messages: task.messages, tools: [TOOL] });
    return { calls: callsOf(await stream.finalMessage()) };
  },
  async required_tool(task) {
    return { calls: callsOf((await create(task, { tools: [TOOL], tool_choice: "required" })).choices[0].message) };
  },
  async structured(task) {
    const response_format = { type: "json_schema", json_schema: { name: "city", schema: CITY, strict: true } };
    return { data: JSON.parse((await create(task, { response_format })).choices[0].message.content) };
  },
  async logprobs(task) {
    return { logprobs: (await create(task, { logprobs: true, top_logprobs: 2 })).choices[0].logprobs.content.length };
  },
  async choices(task) {
    const texts = (await create(task, { n: task.scenario.n })).choices.map((choice) => choice.message.content);
    return { choices: texts.length, different: new Set(texts).size === texts.length };
  },
  async error(task) {
    const { model = task.model, max_tokens = 5, key = task.key } = task.scenario;
    try {
      await create(task, { model, max_tokens }, { apiKey: key });
    } catch (refusal) {
      return { status: refusal.status, code: refusal.code };
    }
    return {};
  },
  async retry(task) {
    return { text: (await create(task, {}, { baseURL: task.flaky_url, maxRetries: 2 })).choices[0].message.content };
  },
  async timeout(task) {
    try {
      await create(task, { model: task.slow_model }, { timeout: task.scenario.timeout_s * 1000 });
    } catch (error) {
      return { timed_out: error instanceof OpenAI.APIConnectionTimeoutError };
    }
    return {};
  },
  async cancellation(task) {
    const stream = await create(task, { model: task.slow_model, stream: true });
    for await (const chunk of stream) {
      if (chunk.choices[0].delta.content) break;
    }
    return { cancelled: true };
  },
});
