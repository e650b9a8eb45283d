import { expect, it } from 'vitest';
import { Run, RunEnded } from '../../../agent/source/ssmix2/run.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { TestIntake } from '../../conformance/intake.ts';

function run(signal: AbortSignal): Run {
  const host = {
    name: 'ssmix',
    intake: new TestIntake(),
    clock: new FakeClock('2026-11-23T10:00:00+09:00'),
    signal,
    report: () => undefined,
  };
  const options = {
    roots: [],
    encoding: 'auto',
    patientId: { strip: 'none', ownAuthorities: [] },
    categories: {},
    recentDays: 31,
    fullScanDays: 7,
    stableForMs: 60_000,
    filesPerSecond: 1_000,
    fileBytesMax: 1_000_000,
    changesMax: 1_000,
  } as const;
  return new Run({ options, host, signal, progress: () => undefined });
}

it('does not wait for a share that never answers once it is broken off', async () => {
  const aborting = new AbortController();
  const started = Promise.withResolvers<void>();
  const reading = run(aborting.signal).read(() => {
    started.resolve();
    return new Promise<never>(() => undefined);
  });
  await started.promise;
  aborting.abort();
  await expect(reading).rejects.toBeInstanceOf(RunEnded);
});

it('does not touch the share when it was broken off before', async () => {
  let touched = 0;
  const reading = run(AbortSignal.abort()).read(async () => touched++);
  await expect(reading).rejects.toBeInstanceOf(RunEnded);
  expect(touched).toBe(0);
});
