/** What a source is given in these tests: an intake in memory whose commits can be held back or made to fail. */
import { ConnectorError } from '../../../agent/model/errors.ts';
import type { ConnectorEvent } from '../../../agent/model/events.ts';
import type { GapNote, Intake, Offer, Source, SourceHost } from '../../../agent/model/ports.ts';
import type { OfferResult, Outcome, RecordFacts } from '../../../agent/model/record.ts';
import { sourceCommonShape } from '../../../agent/source/define.ts';
import { hl7v2 } from '../../../agent/source/hl7v2/index.ts';
import { FakeClock } from '../../base/fake-clock.ts';

const create = await hl7v2.load();

interface Taken {
  readonly bytes: Buffer;
  readonly facts: RecordFacts;
}

class MemoryIntake implements Intake {
  readonly taken: Taken[] = [];
  readonly gaps: GapNote[] = [];
  /** Offers that have arrived, committed or not. */
  offered = 0;
  outcome: Outcome = 'kept';
  /** Thrown instead of committing; asked anew for each offer. */
  failure: ((offer: Offer) => Error | undefined) | undefined;
  /** While set, commits wait for it. */
  gate: Promise<void> | undefined;
  #changed = Promise.withResolvers<void>();

  async accept(offer: Offer): Promise<readonly OfferResult[]> {
    this.offered++;
    const read = offer.records.map((record) => {
      const { body } = record.payload;
      if (!Buffer.isBuffer(body)) throw new TypeError('expected bytes');
      return { bytes: Buffer.from(body), facts: record.describe() };
    });
    this.#announce();
    await this.gate;
    const failure = this.failure?.(offer);
    if (failure) throw failure;
    this.taken.push(...read);
    this.gaps.push(...(offer.gaps ?? []));
    this.#announce();
    return read.map((_, index) => ({ outcome: this.outcome, recordId: String(index) }));
  }

  async whenOffered(count: number): Promise<void> {
    while (this.offered < count) await this.#changed.promise;
  }

  wants(): 'take' {
    return 'take';
  }

  known(keys: readonly unknown[]): 'unknown'[] {
    return keys.map(() => 'unknown');
  }

  state(): undefined {
    return undefined;
  }

  states(): [] {
    return [];
  }

  #announce(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

export function bufferFull(): ConnectorError {
  return new ConnectorError('BUFFER_FULL', { reason: 'test' });
}

export interface TestSource {
  readonly source: Source;
  readonly port: number;
  readonly intake: MemoryIntake;
  readonly clock: FakeClock;
  readonly events: ConnectorEvent[];
  /** Resolves when an event of this name (and word) has been told. */
  readonly told: (name: ConnectorEvent['name'], word?: string) => Promise<ConnectorEvent>;
}

const running = new Set<Source>();

/** Starts a source with these options as they would stand in the configuration. */
export async function startSource(options: Record<string, unknown> = {}): Promise<TestSource> {
  const made = makeSource(options);
  running.add(made.source);
  const listening = await made.source.listen?.();
  return { ...made, port: listening?.port ?? 0 };
}

export function makeSource(options: Record<string, unknown> = {}): Omit<TestSource, 'port'> {
  const intake = new MemoryIntake();
  const clock = new FakeClock('2026-11-23T10:15:30+09:00');
  const events: ConnectorEvent[] = [];
  let changed = Promise.withResolvers<void>();
  const host: SourceHost = {
    name: 'ehr-feed',
    intake,
    clock,
    signal: new AbortController().signal,
    report: (event) => {
      events.push(event);
      changed.resolve();
      changed = Promise.withResolvers();
    },
  };
  const told = async (name: ConnectorEvent['name'], word?: string): Promise<ConnectorEvent> => {
    for (;;) {
      const found = events.find((event) => event.name === name && (word === undefined || event.word === word));
      if (found) return found;
      await changed.promise;
    }
  };
  const parsed = hl7v2.options
    .safeExtend(sourceCommonShape)
    .parse({ listen: '127.0.0.1:0', name: host.name, ...options });
  const source = create(parsed, host);
  return { source, intake, clock, events, told };
}

/** For afterEach: nothing a test started outlives it. */
export async function stopSources(): Promise<void> {
  await Promise.all([...running].map((source) => source.stop()));
  running.clear();
}
