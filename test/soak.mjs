/**
 * `npm run soak [-- vitest arguments]`: the fault and simulation tests with the numbers of a long night: 1,000 kills of
 * the agent, 500 with all sources under load, 1,000 cuts of the line, 20,000 histories of the model. Hours on two cores.
 * Each variable may be set to another number; the last line is `N passed, N failed`.
 */
const numbers = {
  KAKEHASHI_KILLS: 1000,
  KAKEHASHI_SOURCE_KILLS: 500,
  KAKEHASHI_CUTS: 1000,
  KAKEHASHI_STOP_ROUNDS: 500,
  KAKEHASHI_HISTORIES: 20_000,
};

for (const [name, number] of Object.entries(numbers)) {
  process.env[name] ??= String(number);
  process.stdout.write(`${name}=${process.env[name]}\n`);
}
if (process.argv.length === 2) process.argv.push('test/fault', 'test/simulation');
await import('./run.mjs');
