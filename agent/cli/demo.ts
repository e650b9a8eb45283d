/**
 * `demo`: the whole chain on this machine with real peers. What plays in it lies with the tests, because it needs the
 * same peers; an installed connector has neither, and says so.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ConnectorError } from '../model/errors.ts';
import { defineVerb } from './verb.ts';

/** As a shell counts a process that a signal ended. */
const endedBySignal = 130;

export const verb = defineVerb({
  usage: '[--keep DIR]',
  about:
    'Plays a hospital, its systems and a producer on this machine, with invented patients: receives, pulls, ships, opens\n' +
    'every parcel with public tools, compares every digest, stops a patient, kills the agent. Source checkout only.',
  options: {
    keep: { type: 'string', value: 'DIR', text: 'leave state, parcels, opened payloads and what the peers hold here' },
  },
  positionals: { min: 0, max: 0 },
  run: async ({ keep }, _positionals, { terminal, signal }) => {
    const args = [...(terminal.isJson ? ['--json'] : []), ...(keep === undefined ? [] : ['--keep', keep])];
    return runDemo(join(import.meta.dirname, '..', '..', 'test', 'demo', 'main.ts'), args, signal);
  },
});

/** @throws ConnectorError DEMO_NEEDS_SOURCE */
export async function runDemo(main: string, args: readonly string[], signal: AbortSignal): Promise<number> {
  if (!existsSync(main)) throw new ConnectorError('DEMO_NEEDS_SOURCE');
  const child = spawn(process.execPath, [main, ...args], { stdio: 'inherit' });
  // It ends what it started; a signal to us alone would leave it without a parent.
  const end = () => child.kill('SIGTERM');
  signal.addEventListener('abort', end, { once: true });
  const [code] = (await once(child, 'close')) as [number | null];
  signal.removeEventListener('abort', end);
  return code ?? endedBySignal;
}
