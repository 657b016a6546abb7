// What a driver reads and writes: a task on standard input, results on standard output.
import { readFileSync } from "node:fs";

const object = (properties) => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});
export const WEATHER = object({ city: { type: "string" } });
export const CITY = object({ city: { type: "string" }, people: { type: "integer" } });
export const TOOL = {
  type: "function",
  function: { name: "weather", description: "The weather in a city", parameters: WEATHER },
};
export const weather = (city) => `sunny in ${city}`;
export const callOf = (name, args) => ({ name, arguments: typeof args === "string" ? JSON.parse(args) : args });

export async function run(handlers) {
  const { scenarios, ...where } = JSON.parse(readFileSync(0, "utf8"));
  const results = {};
  for (const scenario of scenarios) {
    const handler = handlers[scenario.do];
    const messages = [{ role: "user", content: scenario.prompt }];
    try {
      results[scenario.name] = handler
        ? await handler({ ...where, scenario, messages, prompt: scenario.prompt })
        : { unsupported: true };
    } catch (error) {
      results[scenario.name] = { crash: String(error.stack).slice(0, 1500) };
    }
  }
  process.stdout.write(JSON.stringify(results), () => process.exit(0));
}
