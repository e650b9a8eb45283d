/**
 * `check`: reads the configuration as `run` would and says what it found. With `--live` the checks of
 * `live-checks.ts` follow, one line each: what was found, what to do and who does it.
 */
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { configOption, defineVerb, type VerbContext } from './verb.ts';
import { askAgent } from './ask.ts';
import { type CheckResult, failed, liveChecks } from './live-checks.ts';

export const verb = defineVerb({
  usage: '[--config FILE] [--live]',
  about: 'Reads the configuration and shows every problem with its line. Changes nothing.',
  options: {
    config: configOption,
    live: { type: 'boolean', text: 'then ask every source, the producers, the clock, the disk and the certificates' },
  },
  positionals: { min: 0, max: 0 },
  run: async ({ config: path, live }, _positionals, context) => {
    const { terminal } = context;
    const config = loadConfig(path);
    terminal.say(`${path}: OK. ${summary(config)}`);
    const results = live ? await runLive(config, context) : [];
    terminal.result({ ok: true, file: config.file, hash: config.hash, checks: results });
    return results.some(({ state }) => state === 'fail') ? 1 : 0;
  },
});

function summary({ facility, sources, producers }: Config): string {
  const names = (list: readonly { name: string }[]) => list.map(({ name }) => name).join(', ') || 'none';
  return `${facility.name} (${facility.code}); sources: ${names(sources)}; producers: ${names(producers)}.`;
}

const stateWords = { ok: 'OK', warn: 'WARN', fail: 'FAIL' } as const;

/** What can be seen from here first; then the agent, running or opened for it, asks everything it is connected to. */
async function runLive(config: Config, context: VerbContext): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  for (const check of liveChecks) results.push(...(await check(config, context.signal)));
  if (results.every(({ state }) => state !== 'fail')) results.push(...(await askParts(config, context)));
  context.terminal.table(
    ['', 'check', 'found', 'what to do', 'who'],
    results.map(({ state, check, found, todo, who }) => [stateWords[state], check, found, todo ?? '', who ?? '']),
  );
  return results;
}

async function askParts(config: Config, context: VerbContext): Promise<readonly CheckResult[]> {
  try {
    return (await askAgent(config.file, 'check', {}, context)) as CheckResult[];
  } catch (error) {
    return [failed('agent', error, 'hospital IT')];
  }
}
