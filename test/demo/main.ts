/**
 * `npm run demo [-- --json] [-- --keep DIR]`: the whole chain on this machine, with real peers. Exit code 0 only if
 * everything is as it must be, 2 for a wrong option, 130 when interrupted.
 */
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { inspect, parseArgs } from 'node:util';
import { errorText } from '../../agent/base/terminal.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import { exitCode } from './accounting.ts';
import { Play } from './play.ts';
import { Story } from './story.ts';

/** As a shell counts a process that SIGINT ended. */
const interrupted = 130;

interface Options {
  readonly json: boolean;
  readonly keep: string | undefined;
}

const interruption = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => interruption.abort(new Error('interrupted')));

process.exitCode = await main(process.argv.slice(2));
// A sender that waits for an agent that will not come back keeps nobody waiting.
if (interruption.signal.aborted) process.exit();

async function main(argv: readonly string[]): Promise<number> {
  const options = readOptions(argv);
  if (typeof options === 'string') {
    process.stderr.write(`${options}\nnpm run demo -- [--json] [--keep DIR]\n`);
    return 2;
  }
  const folder = options.keep ?? (await mkdtemp(join(tmpdir(), 'kakehashi-demo-')));
  await mkdir(folder, { recursive: true, mode: 0o700 });
  // Whatever is made below, also by the processes that are started, lies in the one folder.
  process.env['TMPDIR'] = folder;
  // Orthanc lies where only root looks by itself.
  process.env['PATH'] = `${process.env['PATH']}${delimiter}/usr/sbin`;
  try {
    return await perform(folder, options);
  } finally {
    if (options.keep === undefined) await rm(folder, { recursive: true, force: true });
  }
}

/** The options, or what is wrong with them. */
function readOptions(argv: readonly string[]): Options | string {
  try {
    const { values } = parseArgs({ args: [...argv], options: { json: { type: 'boolean' }, keep: { type: 'string' } } });
    const keep = values.keep === undefined ? undefined : resolve(values.keep);
    if (keep !== undefined && existsSync(keep) && readdirSync(keep).length > 0) return `${keep} is not empty.`;
    return { json: values.json ?? false, keep };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function perform(folder: string, { json, keep }: Options): Promise<number> {
  const story = new Story(process, { json });
  story.title('Kakehashi, the demo: one hospital and one producer on this machine');
  const { signal } = interruption;
  try {
    const result = await new Play({ folder, story, isKept: keep !== undefined, signal }).run();
    if (keep !== undefined) {
      await writeFile(join(folder, 'result.json'), `${JSON.stringify(result)}\n`);
      story.say(`Kept in ${keep}: site/ (hospital, producer, data), opened/, peers/, telemetry/.`);
    }
    if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
    return exitCode(result);
  } catch (error) {
    if (signal.aborted) return interrupted;
    process.stderr.write(error instanceof ConnectorError ? errorText(error) : `${inspect(error)}\n`);
    return 1;
  }
}
