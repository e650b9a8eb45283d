/**
 * `npm run bench [-- --json] [--quick] [--only NAME] [--night]`: the numbers of docs/benchmarks.md, ours and the peer's
 * by turns on this machine, or one night. One line a measure, as soon as its rounds are done. Exit code 0 when everything was measured,
 * whatever the numbers are; 2 for a wrong option, 130 when interrupted.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { benches } from './benches.ts';
import { inFolder } from './folder.ts';
import { quietness } from './machine.ts';
import { type Bench, judge, type Line, type Quietness, type Sample } from './measure.ts';
import { night, type NightLine } from './night.ts';

/** Odd, so that the median is one of them. */
const rounds = { quick: 1, full: 5 } as const;

interface Options {
  readonly night: boolean;
  readonly json: boolean;
  readonly quick: boolean;
  readonly only: readonly string[];
}

/** As a shell counts a process that SIGINT ended. */
const interrupted = 130;

// Heard between two rounds: whoever is in one ends its processes and removes its folders first.
const interruption = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => interruption.abort());

process.exitCode = await main(process.argv.slice(2));

async function main(argv: readonly string[]): Promise<number> {
  const options = readOptions(argv);
  if (typeof options === 'string') {
    process.stderr.write(`${options}\nnpm run bench -- [--json] [--quick] [--night | --only NAME...]\n`);
    return 2;
  }
  const folder = await mkdtemp(join(tmpdir(), 'kakehashi-bench-'));
  // Whatever is made below, also by the processes that are started, lies in the one folder.
  process.env['TMPDIR'] = folder;
  try {
    if (options.night) for (const line of await night({ isQuick: options.quick })) tell(line, options);
    else for (const bench of benches.filter((each) => isWanted(each, options))) await run(bench, options);
  } catch (error) {
    // A terminal interrupts the processes of the round as well, and their end is what is thrown.
    if (!interruption.signal.aborted) throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  return interruption.signal.aborted ? interrupted : 0;
}

/** The options, or what is wrong with them. */
function readOptions(argv: readonly string[]): Options | string {
  const flag = { type: 'boolean', default: false } as const;
  try {
    const { json, quick, night, only } = parseArgs({
      args: [...argv],
      options: { json: flag, quick: flag, night: flag, only: { type: 'string', multiple: true, default: [] } },
    }).values;
    const known = benches.flatMap(({ measures }) => measures.map(({ name }) => name));
    const unknown = only.find((name) => !known.includes(name));
    if (unknown !== undefined) return `There is no ${unknown}; there are ${known.join(', ')}.`;
    return { json, quick, night, only };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function tell({ night: name, value, unit, scaled }: NightLine, { json }: Options): void {
  const words = `night, ${name}: ${value} ${unit}; ${scaled}`;
  process.stdout.write(`${json ? JSON.stringify({ night: name, value, unit, scaled }) : words}\n`);
}

function isWanted({ measures, isOnDemand = false }: Bench, { only }: Options): boolean {
  return (only.length === 0 && !isOnDemand) || measures.some(({ name }) => only.includes(name));
}

async function run(bench: Bench, options: Options): Promise<void> {
  const { isInterrupted, samples, before } = await inFolder((folder) => taken(bench, { ...options, folder }));
  if (isInterrupted) return;
  for (const measure of bench.measures) {
    if (options.only.length > 0 && !options.only.includes(measure.name)) continue;
    const ofMeasure = samples.flatMap((sample) => sample[measure.name] ?? []);
    const line = judge(measure, ofMeasure, busiest(before));
    process.stdout.write(`${options.json ? JSON.stringify(line) : inWords(line)}\n`);
  }
}

/** All rounds of a bench, with what the machine was doing before each. */
async function taken(bench: Bench, { quick: isQuick, folder }: Options & { readonly folder: string }) {
  const samples: Readonly<Record<string, Sample>>[] = [];
  const before: Quietness[] = [];
  await bench.prepare?.({ isQuick, folder });
  for (let round = 0; round < rounds[isQuick ? 'quick' : 'full']; round++) {
    if (interruption.signal.aborted) return { isInterrupted: true, samples, before };
    before.push(await quietness());
    samples.push(await bench.round({ isQuick, isPeerFirst: round % 2 === 1, folder }));
  }
  return { isInterrupted: false, samples, before };
}

function busiest(before: readonly Quietness[]): Quietness {
  return {
    load: Math.max(...before.map(({ load }) => load)),
    busyCores: Math.max(...before.map(({ busyCores }) => busyCores)),
  };
}

function inWords({ bench, ours, peer, peerName, ratio, goal, unit, met, load, busyCores }: Line): string {
  const compared = ratio === null ? '' : `; ${peerName}: ${peer}; ratio ${ratio}`;
  const judged = `${met ? 'met' : 'MISSED'} (${goal})`;
  return `${bench}: ${ours} ${unit}${compared}; ${judged}; load ${load}, others' cores ${busyCores}`;
}
