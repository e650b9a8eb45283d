import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Db, openDatabase } from '../../agent/base/database.ts';
import { ConnectorError, isError } from '../../agent/model/errors.ts';
import type { ConnectorEvent } from '../../agent/model/events.ts';
import type { Instant } from '../../agent/model/record.ts';
import { CronTimes, type Job, parseWindow, Scheduler, scheduleMigration } from '../../agent/schedule/index.ts';
import { isOpen } from '../../agent/schedule/window.ts';
import { dayMs, FakeClock, hourMs, jst, minuteMs, settle } from '../base/fake-clock.ts';

let folder: string;
let db: Db;
let events: ConnectorEvent[];
let clock: FakeClock;
const started: Scheduler[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'schedule-'));
  db = openDatabase(join(folder, 'state.db'), [scheduleMigration]);
  events = [];
  clock = new FakeClock('2026-11-23T10:00:30+09:00');
});

afterEach(async () => {
  const stopped = Promise.all(started.splice(0).map((scheduler) => scheduler.stop()));
  await clock.advance(5_000);
  await stopped;
  db.close();
  rmSync(folder, { recursive: true });
});

/** A scheduler without jitter unless told; each start of a run is noted with wall and monotonic time. */
function schedule(jobs: readonly Job[], options: { jitterMsMax?: number; facility?: string } = {}): Scheduler {
  const report = (event: ConnectorEvent) => void events.push(event);
  const scheduler = new Scheduler({ db, clock, report, jobs, jitterMsMax: 0, ...options });
  started.push(scheduler);
  scheduler.start();
  return scheduler;
}

interface Start {
  readonly wall: Instant;
  readonly mono: number;
}

function noting(runs: Start[], job: Omit<Job, 'run' | 'name'> & { name?: string }): Job {
  return {
    name: 'pull ehr-fhir',
    ...job,
    run: async () => {
      runs.push({ wall: clock.now(), mono: clock.monotonic() });
    },
  };
}

/** Runs until its signal aborts. */
const endless = (signal: AbortSignal) =>
  new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));

const walls = (runs: readonly Start[]) => runs.map(({ wall }) => wall);
const missedIn = (list: readonly ConnectorEvent[]) =>
  list
    .filter(({ name }) => name === 'schedule.missed')
    .reduce((sum, { numbers }) => sum + (numbers?.['missedCount'] ?? 0), 0);

describe('in quiet times', () => {
  it('runs each slot once, at its second, and nothing before the first slot', async () => {
    const runs: Start[] = [];
    schedule([noting(runs, { cron: '*/5 * * * *' })]);
    await clock.advance(16 * minuteMs);
    expect(walls(runs)).toEqual([jst('2026-11-23 10:05'), jst('2026-11-23 10:10'), jst('2026-11-23 10:15')]);
    expect(missedIn(events)).toBe(0);
  });

  it('waits outside the transfer hours and runs what became due when they open', async () => {
    const runs: Start[] = [];
    schedule([noting(runs, { cron: '0 12 * * *', window: parseWindow('22:00-06:00') })]);
    await clock.advance(2 * dayMs);
    expect(walls(runs)).toEqual([jst('2026-11-23 22:00'), jst('2026-11-24 22:00')]);
  });

  it('does not call the slots outside the transfer hours missed', async () => {
    const runs: Start[] = [];
    schedule([noting(runs, { cron: '0 * * * *', window: parseWindow('22:00-06:00') })]);
    await clock.advance(dayMs);
    expect(runs).toHaveLength(8);
    expect(missedIn(events)).toBe(0);
  });

  it('aborts a run at the end of the transfer hours, and starts again in the next ones', async () => {
    const cut: Instant[] = [];
    const starts: Instant[] = [];
    const run = async (signal: AbortSignal) => {
      starts.push(clock.now());
      await endless(signal);
      cut.push(clock.now());
    };
    const scheduler = schedule([{ name: 'ship ldi', cron: '*/15 * * * *', window: parseWindow('22:00-06:00'), run }]);
    await clock.advance(dayMs);
    expect(starts).toEqual([jst('2026-11-23 22:00')]);
    expect(cut).toEqual([jst('2026-11-24 06:00')]);
    expect(scheduler.status()[0]).toMatchObject({
      lastCode: 'window',
      running: false,
      nextDue: jst('2026-11-24 22:00'),
    });
    await clock.advance(12 * hourMs + 30 * minuteMs);
    expect(starts).toEqual([jst('2026-11-23 22:00'), jst('2026-11-24 22:00')]);
  });

  it('does not start a job that still runs, and makes up for it with one run', async () => {
    let running = 0;
    let most = 0;
    const starts: Instant[] = [];
    const run = async () => {
      starts.push(clock.now());
      most = Math.max(most, ++running);
      await clock.sleep(12 * minuteMs);
      running--;
    };
    schedule([{ name: 'pull ssmix', cron: '*/5 * * * *', run }]);
    await clock.advance(20 * minuteMs);
    expect(most).toBe(1);
    // 10:05 ran until 10:17; 10:10 was missed, 10:15 is made up for at the next look.
    expect(starts[0]).toBe(jst('2026-11-23 10:05'));
    expect(starts[1]).toBeLessThanOrEqual(jst('2026-11-23 10:17:30'));
    expect(starts).toHaveLength(2);
    expect(missedIn(events)).toBe(1);
  });

  it('goes on with the other jobs and the next slot when one fails, and tells the code', async () => {
    const runs: Start[] = [];
    let tries = 0;
    const run = async () => {
      tries++;
      throw new ConnectorError('BUFFER_FULL', { reason: 'test' });
    };
    const scheduler = schedule([
      { name: 'pull pacs', cron: '*/5 * * * *', run },
      noting(runs, { cron: '*/5 * * * *' }),
    ]);
    await clock.advance(11 * minuteMs);
    expect([tries, runs.length]).toEqual([2, 2]);
    expect(scheduler.status()[0]).toMatchObject({ lastCode: 'BUFFER_FULL' });
    expect(scheduler.status()[0]).not.toHaveProperty('lastOk');
    expect(events).toContainEqual({ name: 'schedule.failed', word: 'pull pacs', code: 'BUFFER_FULL' });
  });

  it('takes a job that throws at once, and something that is not ours, for a defect and goes on', async () => {
    let tries = 0;
    const run = () => {
      tries++;
      throw new TypeError('架橋 太郎');
    };
    const scheduler = schedule([{ name: 'pull pacs', cron: '*/5 * * * *', run }]);
    await clock.advance(11 * minuteMs);
    expect(tries).toBe(2);
    expect(scheduler.status()[0]).toMatchObject({ lastCode: 'JOB_FAILED', running: false });
    expect(JSON.stringify([events, scheduler.status()])).not.toContain('架橋');
  });

  it('still runs its jobs when the disk refuses to remember it', async () => {
    const runs: Start[] = [];
    schedule([noting(runs, { cron: '*/5 * * * *' })]);
    db.pragma('query_only = ON');
    await clock.advance(11 * minuteMs);
    db.pragma('query_only = OFF');
    expect(runs).toHaveLength(2);
    expect(events.map(({ code }) => code)).toContain('BUFFER_FAILED');
  });
});

describe('jitter', () => {
  const cronPeriods = fc.constantFrom('*/5 * * * *', '30 22 * * *', '* * * * *', '0,2 3 * * *');

  it('is the same every day, shorter than the period and within its bound, and differs between hospitals', async () => {
    const delays = new Set<number>();
    await fc.assert(
      fc.asyncProperty(cronPeriods, fc.stringMatching(/^\d{10}$/), async (cron, facility) => {
        clock = new FakeClock('2026-11-23T10:00:30+09:00');
        const scheduler = new Scheduler({ db, clock, report: () => undefined, facility, jobs: [noting([], { cron })] });
        const next = scheduler.status()[0]?.nextDue ?? 0;
        const slot = new CronTimes(cron).latest(next) ?? 0;
        expect(next - slot).toBeLessThan(Math.min(10 * minuteMs + 1, new CronTimes(cron).periodMs));
        clock.step(dayMs);
        expect((scheduler.status()[0]?.nextDue ?? 0) - next).toBe(dayMs);
        delays.add(next - slot);
      }),
      { numRuns: 60 },
    );
    expect(delays.size).toBeGreaterThan(40);
  });

  it('does not carry a run beyond ten minutes of transfer hours', async () => {
    for (const facility of ['1310000001', '1310000002', '1310000003', '1310000004']) {
      const runs: Start[] = [];
      const window = parseWindow('22:00-22:10');
      schedule([noting(runs, { name: `ship ${facility}`, cron: '5 22 * * *', window })], {
        jitterMsMax: hourMs,
        facility,
      });
      await clock.advance(dayMs);
      expect(runs).toHaveLength(1);
      expect(isOpen(window, runs[0]?.wall ?? 0)).toBe(true);
    }
  });
});

describe('after being away', () => {
  it('catches up with one run after days of downtime and says how many were missed', async () => {
    const runs: Start[] = [];
    const job = noting(runs, { cron: '0 * * * *' });
    const first = schedule([job]);
    await clock.advance(hourMs);
    await first.stop();
    clock.freeze(3 * dayMs);
    schedule([job]);
    await clock.advance(20 * minuteMs);
    expect(runs).toHaveLength(2);
    expect(missedIn(events)).toBe(3 * 24 - 1);
    await clock.advance(hourMs);
    expect(runs).toHaveLength(3);
  });

  it('runs the slot a restart fell on, once', async () => {
    const runs: Start[] = [];
    const job = noting(runs, { cron: '30 22 * * *' });
    const first = schedule([job]);
    await clock.advance(jst('2026-11-23 22:29:50') - clock.now());
    await first.stop();
    clock.freeze(20_000);
    const second = schedule([job]);
    await clock.advance(minuteMs);
    await second.stop();
    schedule([job]);
    await clock.advance(hourMs);
    expect(walls(runs)).toEqual([jst('2026-11-23 22:30:10')]);
  });

  it('makes a run again that a stop or a crash cut off, and not one that ended', async () => {
    let starts = 0;
    const job: Job = {
      name: 'pull pacs',
      cron: '30 22 * * *',
      run: async (signal) => {
        if (++starts === 1) await endless(signal);
      },
    };
    const first = schedule([job]);
    await clock.advance(13 * hourMs);
    expect(starts).toBe(1);
    await first.stop();
    const second = schedule([job]);
    await clock.advance(minuteMs);
    expect(starts).toBe(2);
    await second.stop();
    schedule([job]);
    await clock.advance(minuteMs);
    expect(starts).toBe(2);
  });

  it('does not run outside the transfer hours to catch up', async () => {
    const runs: Start[] = [];
    const window = parseWindow('22:00-06:00');
    const job = noting(runs, { cron: '0 23 * * *', window });
    const first = schedule([job]);
    await clock.advance(minuteMs);
    await first.stop();
    clock.freeze(dayMs);
    schedule([job]);
    await clock.advance(dayMs);
    expect(walls(runs)).toEqual([jst('2026-11-24 22:00'), jst('2026-11-24 23:00')]);
  });

  it('runs once after a process that was suspended over several slots', async () => {
    const runs: Start[] = [];
    schedule([noting(runs, { cron: '*/5 * * * *' })]);
    await clock.advance(5 * minuteMs);
    clock.freeze(23 * minuteMs);
    await clock.advance(minuteMs);
    expect(walls(runs)).toEqual([jst('2026-11-23 10:05'), expect.any(Number)]);
    expect(missedIn(events)).toBe(3);
    expect(events.some(({ name }) => name === 'clock.stepped')).toBe(false);
  });
});

describe('when the clock is moved', () => {
  const steps = [5 * minuteMs, hourMs, dayMs, -5 * minuteMs, -hourMs, -dayMs];

  it.each(steps)(
    'by %d ms, a five-minute job is neither silent for two periods nor run twice within one',
    async (stepMs) => {
      const runs: Start[] = [];
      schedule([noting(runs, { cron: '*/5 * * * *' })]);
      await clock.advance(21 * minuteMs);
      const seen = runs.length;
      clock.step(stepMs);
      await clock.advance(2 * hourMs);
      expect(events).toContainEqual({ name: 'clock.stepped', numbers: { stepMs } });
      const gaps = runs.slice(1).map(({ mono }, index) => mono - (runs[index]?.mono ?? 0));
      expect(Math.max(...gaps)).toBeLessThanOrEqual(10 * minuteMs);
      // Set forward, the slot that was jumped over is made up for at once; set back, nothing comes early.
      expect(gaps.filter((gap) => gap < 4 * minuteMs).length).toBeLessThanOrEqual(stepMs < 0 ? 0 : 2);
      expect(runs.length - seen).toBeGreaterThanOrEqual(23);
      expect(runs.length - seen).toBeLessThanOrEqual(26);
    },
  );

  it.each(steps)('by %d ms after its run, a nightly job runs once a night by the new time', async (stepMs) => {
    const runs: Start[] = [];
    const window = parseWindow('22:00-06:00');
    schedule([noting(runs, { cron: '30 22 * * *', window })]);
    await clock.advance(13 * hourMs);
    expect(runs).toHaveLength(1);
    clock.step(stepMs);
    await clock.advance(4 * dayMs);
    const gaps = runs.slice(1).map(({ mono }, index) => mono - (runs[index]?.mono ?? 0));
    // A day set forward is a night that was missed: made up for at once, inside the hours.
    const soonest = stepMs >= dayMs ? 0 : 22 * hourMs;
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(soonest);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(26 * hourMs);
    for (const { wall } of runs) expect(isOpen(window, wall)).toBe(true);
  });

  it('back by a year, it goes on at its own times and after a restart too', async () => {
    const runs: Start[] = [];
    const job = noting(runs, { cron: '30 22 * * *' });
    const first = schedule([job]);
    await clock.advance(13 * hourMs);
    clock.step(-365 * dayMs);
    await clock.advance(3 * dayMs);
    expect(runs.length).toBeGreaterThanOrEqual(3);
    await first.stop();
    clock.step(-365 * dayMs);
    schedule([job]);
    const before = runs.length;
    await clock.advance(3 * dayMs);
    expect(runs.length - before).toBeGreaterThanOrEqual(2);
    for (const { wall } of runs) expect(Math.abs(wall - jst('2026-11-23 22:30')) % dayMs).toBe(0);
  });

  it('by anything at any time, no run is outside the window, and none repeats its slot while time goes forward', async () => {
    const acts = fc.array(
      fc.oneof(
        fc.record({ act: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 6 * hourMs }) }),
        fc.record({ act: fc.constant('freeze' as const), ms: fc.integer({ min: 1, max: dayMs }) }),
        fc.record({ act: fc.constant('step' as const), ms: fc.integer({ min: -dayMs, max: dayMs }) }),
        fc.record({ act: fc.constant('restart' as const), ms: fc.integer({ min: 0, max: hourMs }) }),
      ),
      { maxLength: 6 },
    );
    await fc.assert(
      fc.asyncProperty(acts, fc.constantFrom('*/15 * * * *', '30 22 * * *', '0 */2 * * *'), async (list, cron) => {
        clock = new FakeClock('2026-11-23T10:00:30+09:00');
        db.exec('DELETE FROM schedule');
        const runs: Start[] = [];
        const window = parseWindow('22:00-06:00');
        const job = noting(runs, { cron, window });
        let scheduler = schedule([job]);
        for (const { act, ms } of list) {
          if (act === 'pass') await clock.advance(ms);
          if (act === 'freeze') clock.freeze(ms);
          if (act === 'step') clock.step(ms);
          if (act === 'restart') {
            await scheduler.stop();
            clock.freeze(ms);
            scheduler = schedule([job]);
            await settle();
          }
        }
        // One slot may be passed over after a step back, so three days hold at least two runs.
        await clock.advance(3 * dayMs + hourMs);
        await scheduler.stop();
        const times = new CronTimes(cron);
        const slots = runs.map(({ wall }) => times.latest(wall));
        expect(runs.every(({ wall }) => isOpen(window, wall))).toBe(true);
        expect(runs.length).toBeGreaterThanOrEqual(2);
        const wentBack = list.some(({ act, ms }) => act === 'step' && ms < 0);
        expect(wentBack || new Set(slots).size === slots.length).toBe(true);
      }),
      // Not shrunk: each try simulates days, and the list is short.
      { numRuns: 40, endOnFailure: true },
    );
  }, 120_000);
});

describe('by hand', () => {
  it('runs now, whatever the hour, and leaves the timetable as it was', async () => {
    const runs: Start[] = [];
    const scheduler = schedule([noting(runs, { cron: '30 22 * * *', window: parseWindow('22:00-06:00') })]);
    await settle();
    await scheduler.runNow('pull ehr-fhir');
    expect(walls(runs)).toEqual([clock.now()]);
    expect(scheduler.status()[0]).toMatchObject({ lastCode: 'ok', nextDue: jst('2026-11-23 22:30') });
    await clock.advance(dayMs);
    expect(runs).toHaveLength(2);
  });

  it('may wait for a run that is under way', async () => {
    let finish: () => void = () => undefined;
    const run = () => new Promise<void>((resolve) => (finish = resolve));
    const scheduler = schedule([{ name: 'ship ldi', run }]);
    const first = scheduler.runNow('ship ldi');
    await settle();
    const order: string[] = [];
    const idle = scheduler.whenIdle('ship ldi').then(() => order.push('idle'));
    order.push('finishing');
    finish();
    await Promise.all([first, idle]);
    expect(order).toEqual(['finishing', 'idle']);
  });

  it('is the only way for a job without a timetable', async () => {
    const runs: Start[] = [];
    const scheduler = schedule([noting(runs, {})]);
    await clock.advance(dayMs);
    expect(runs).toEqual([]);
    await scheduler.runNow('pull ehr-fhir');
    expect(runs).toHaveLength(1);
    expect(scheduler.status()[0]).not.toHaveProperty('nextDue');
  });

  it('is not cut off by the transfer hours', async () => {
    let finish: () => void = () => undefined;
    let wasAborted = false;
    const run = (signal: AbortSignal) => {
      signal.addEventListener('abort', () => (wasAborted = true));
      return new Promise<void>((resolve) => (finish = resolve));
    };
    const scheduler = schedule([{ name: 'ship ldi', cron: '30 22 * * *', window: parseWindow('22:00-06:00'), run }]);
    const done = scheduler.runNow('ship ldi');
    await clock.advance(hourMs);
    expect(wasAborted).toBe(false);
    finish();
    await done;
  });

  it('refuses a second run of the same job, and throws what a run throws', async () => {
    const scheduler = schedule([
      { name: 'slow', cron: '30 22 * * *', run: endless },
      {
        name: 'broken',
        cron: '30 22 * * *',
        run: () => Promise.reject(new ConnectorError('BUFFER_FULL', { reason: 'test' })),
      },
    ]);
    const slow = scheduler.runNow('slow');
    await expect(scheduler.runNow('slow')).rejects.toSatisfy((error) => isError(error, 'JOB_BUSY'));
    await expect(scheduler.runNow('broken')).rejects.toSatisfy((error) => isError(error, 'BUFFER_FULL'));
    await expect(scheduler.runNow('nobody')).rejects.toSatisfy((error) => isError(error, 'USAGE'));
    await scheduler.stop();
    await slow;
  });

  it('pauses over a restart, and catches up once when resumed', async () => {
    const runs: Start[] = [];
    const job = noting(runs, { cron: '*/5 * * * *' });
    const first = schedule([job]);
    await clock.advance(minuteMs);
    first.pause('pull ehr-fhir');
    await first.stop();
    const second = schedule([job]);
    await clock.advance(hourMs);
    expect(runs).toHaveLength(0);
    expect(second.status()[0]).toMatchObject({ paused: true });
    expect(second.status()[0]).not.toHaveProperty('nextDue');
    second.resume('pull ehr-fhir');
    await settle();
    expect(runs).toHaveLength(1);
  });
});

describe('stopping', () => {
  it('aborts what runs and waits for it', async () => {
    const order: string[] = [];
    const run = async (signal: AbortSignal) => {
      await endless(signal);
      order.push('job ended');
    };
    const scheduler = schedule([{ name: 'pull pacs', cron: '*/5 * * * *', run }]);
    await clock.advance(5 * minuteMs);
    await scheduler.stop();
    order.push('stopped');
    expect(order).toEqual(['job ended', 'stopped']);
    expect(events.filter(({ code }) => code === 'JOB_STUCK')).toEqual([]);
  });

  it('does not wait for ever for a job that ignores it, and owes its run to the next start', async () => {
    let starts = 0;
    const run = () => (++starts === 1 ? new Promise<void>(() => undefined) : Promise.resolve());
    const job: Job = { name: 'pull pacs', cron: '30 22 * * *', run };
    const scheduler = schedule([job]);
    await clock.advance(13 * hourMs);
    const stopped = scheduler.stop();
    await clock.advance(5_000);
    await stopped;
    expect(events).toContainEqual({
      name: 'schedule.failed',
      word: 'pull pacs',
      code: 'JOB_STUCK',
      numbers: { limitMs: 5_000 },
    });
    schedule([job]);
    await settle();
    expect(starts).toBe(2);
  });
});
