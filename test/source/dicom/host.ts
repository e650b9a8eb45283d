/** A DICOM source as it would stand in the configuration, with the intake of the conformance suite. */
import type { ConnectorEvent } from '../../../agent/model/events.ts';
import type { Clock, Intake, Source, SourceHost } from '../../../agent/model/ports.ts';
import { sourceCommonShape } from '../../../agent/source/define.ts';
import { dicom } from '../../../agent/source/dicom/index.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { TestIntake } from '../../conformance/intake.ts';

const create = await dicom.load();

export interface TestSource {
  readonly source: Source;
  readonly port: number;
  readonly intake: TestIntake;
  readonly clock: FakeClock;
  readonly events: ConnectorEvent[];
  /** Resolves when an event of this name (and word, or code) has been told. */
  readonly told: (name: ConnectorEvent['name'], wordOrCode?: string) => Promise<ConnectorEvent>;
}

const running = new Set<Source>();

export async function startSource(options: Record<string, unknown> = {}, intake?: Intake): Promise<TestSource> {
  const made = makeSource(options, intake);
  running.add(made.source);
  const listening = await made.source.listen?.();
  return { ...made, port: listening?.port ?? 0 };
}

export function makeSource(options: Record<string, unknown> = {}, intake?: Intake): Omit<TestSource, 'port'> {
  const clock = new FakeClock('2026-11-23T22:30:00+09:00');
  const { host, events, told } = hostOf(clock, intake);
  const common = { name: host.name, aeTitle: 'KAKEHASHI', listen: '127.0.0.1:0' };
  const parsed = dicom.options.safeExtend(sourceCommonShape).parse({ ...common, ...options });
  return { source: create(parsed, host), intake: host.intake as TestIntake, clock, events, told };
}

function hostOf(clock: Clock, intake: Intake = new TestIntake()) {
  const events: ConnectorEvent[] = [];
  let changed = Promise.withResolvers<void>();
  const host: SourceHost = {
    name: 'pacs',
    intake,
    clock,
    signal: new AbortController().signal,
    report: (event) => {
      events.push(event);
      changed.resolve();
      changed = Promise.withResolvers();
    },
  };
  const told = async (name: ConnectorEvent['name'], wordOrCode?: string): Promise<ConnectorEvent> => {
    const fits = (event: ConnectorEvent) =>
      event.name === name && (wordOrCode === undefined || event.word === wordOrCode || event.code === wordOrCode);
    for (;;) {
      const found = events.find(fits);
      if (found) return found;
      await changed.promise;
    }
  };
  return { host, events, told };
}

/** For afterEach: nothing a test started outlives it. */
export async function stopSources(): Promise<void> {
  await Promise.all([...running].map((source) => source.stop()));
  running.clear();
}
