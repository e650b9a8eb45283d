/** What a FHIR source is given in these tests. */
import { FakeClock } from '../../base/fake-clock.ts';
import { TestIntake } from '../../conformance/intake.ts';
import type { ConnectorEvent } from '../../../agent/model/events.ts';
import type { PollTally, Source, SourceHost } from '../../../agent/model/ports.ts';
import { sourceCommonShape } from '../../../agent/source/define.ts';
import { fhir } from '../../../agent/source/fhir/index.ts';
import { FhirServer, type ServerOptions } from '../../peers/fhir/server.ts';

const create = await fhir.load();

export const facility = '1312345670';
export const startedAt = '2026-11-23T10:15:30+09:00';

export interface Rig {
  readonly source: Source;
  readonly intake: TestIntake;
  readonly clock: FakeClock;
  readonly events: ConnectorEvent[];
  readonly poll: (signal?: AbortSignal) => Promise<PollTally>;
  /** Ends this source and makes one with the same memory, as after a restart. */
  readonly again: () => Promise<Rig>;
}

const running = new Set<{ stop(): Promise<void> } | { close(): Promise<void> }>();

/** A source with these options as they would stand in the configuration. */
export function rig(
  options: Record<string, unknown>,
  intake = new TestIntake(),
  clock = new FakeClock(startedAt),
): Rig {
  const events: ConnectorEvent[] = [];
  const host: SourceHost = {
    name: 'ehr-fhir',
    facility,
    intake,
    clock,
    signal: new AbortController().signal,
    report: (event) => void events.push(event),
  };
  const parsed = fhir.options.safeExtend(sourceCommonShape).parse({ name: host.name, ...options });
  const source = create(parsed, host);
  running.add(source);
  return {
    source,
    intake,
    clock,
    events,
    poll: async (signal = new AbortController().signal) => {
      const tally = await source.poll?.(signal, () => undefined);
      if (!tally) throw new TypeError('the source does not poll');
      return tally;
    },
    again: async () => {
      await source.stop();
      return rig(options, intake, clock);
    },
  };
}

export async function startServer(options: ServerOptions = {}): Promise<FhirServer> {
  const server = await FhirServer.start(options, Date.parse(startedAt));
  running.add(server);
  return server;
}

/** To be closed with the rest. */
export function closing<T extends { close(): Promise<void> }>(peer: T): T {
  running.add(peer);
  return peer;
}

/** For afterEach: nothing a test started outlives it. */
export async function stopAll(): Promise<void> {
  const started = [...running].toReversed();
  running.clear();
  for (const each of started) await ('stop' in each ? each.stop() : each.close());
}

/** While a run waits for its next attempt, lets time pass until it has ended. */
export async function passTime<T>(clock: FakeClock, run: Promise<T>, stepMs = 1000): Promise<T> {
  const waiting = { isOver: false };
  const end = () => void (waiting.isOver = true);
  run.then(end, end);
  while (!waiting.isOver) await clock.advance(stepMs);
  return run;
}
