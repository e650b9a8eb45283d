/** A source over temporary trees, as its configuration would make it, with an intake in memory. */
import type { ConnectorEvent } from '../../../agent/model/events.ts';
import type { PollTally, Source, SourceHost } from '../../../agent/model/ports.ts';
import { sourceCommonShape } from '../../../agent/source/define.ts';
import { ssmix2 } from '../../../agent/source/ssmix2/index.ts';
import { FakeClock, minuteMs } from '../../base/fake-clock.ts';
import { TestIntake } from '../../conformance/intake.ts';
import { Tree } from './tree.ts';

const create = await ssmix2.load();

export interface Rig {
  readonly trees: readonly Tree[];
  readonly source: Source;
  readonly intake: TestIntake;
  readonly clock: FakeClock;
  readonly events: ConnectorEvent[];
  poll(signal?: AbortSignal): Promise<PollTally>;
  /** A source of the same configuration and memory, as after a restart. */
  restart(options?: Record<string, unknown>): Rig;
}

const used: { readonly trees: readonly Tree[]; readonly source: Source }[] = [];

/** No rate: a clock that stands still would end it. */
const defaults = { filesPerSecond: 1_000_000 };

/** The clock is ahead of the disk's, so that what a test has written is stable unless it says otherwise. */
function quietClock(): FakeClock {
  return new FakeClock(new Date(Date.now() + 10 * minuteMs).toISOString());
}

export function rig(options: Record<string, unknown> = {}, trees: readonly Tree[] = [new Tree()]): Rig {
  return assemble(options, { trees, intake: new TestIntake(), clock: quietClock(), events: [] });
}

function assemble(options: Record<string, unknown>, parts: Pick<Rig, 'trees' | 'intake' | 'clock' | 'events'>): Rig {
  const { trees, intake, clock, events } = parts;
  const host: SourceHost = {
    name: 'ssmix',
    intake,
    clock,
    signal: new AbortController().signal,
    report: (event) => void events.push(event),
  };
  const roots = trees.map(({ root }) => root);
  const parsed = ssmix2.options
    .safeExtend(sourceCommonShape)
    .parse({ name: host.name, roots, ...defaults, ...options });
  const source = create(parsed, host);
  used.push({ trees, source });
  const poll = async (signal = new AbortController().signal) => {
    const tally = await source.poll?.(signal, () => undefined);
    if (!tally) throw new TypeError('the source does not poll');
    return tally;
  };
  return { ...parts, source, poll, restart: (changed = {}) => assemble({ ...options, ...changed }, parts) };
}

/** For afterEach: nothing a test made outlives it. */
export async function removeRigs(): Promise<void> {
  for (const { trees, source } of used.splice(0)) {
    await source.stop();
    for (const tree of trees) tree.remove();
  }
}

/** What was handed over since, as `OP key`. */
export function operations({ intake }: Rig, from = 0): string[] {
  return intake.taken.slice(from).map(({ facts }) => `${facts.op} ${facts.nativeKey}`);
}
