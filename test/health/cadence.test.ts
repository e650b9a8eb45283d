import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Db, openDatabase } from '../../agent/base/database.ts';
import { Cadence, cadenceMigration } from '../../agent/health/index.ts';
import type { Instant } from '../../agent/model/record.ts';
import { dayMs, hourMs, jst, minuteMs } from '../base/fake-clock.ts';

let folder: string;
let db: Db;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cadence-'));
  db = openDatabase(join(folder, 'state.db'), [cadenceMigration]);
});

afterEach(() => {
  db.close();
  rmSync(folder, { recursive: true });
});

/** A Monday. */
const monday = jst('2026-11-02 00:00');

/** An outpatient clinic's feed: every 3 minutes from 8:00 to 18:00, Monday to Friday, but for the days left out. */
function work(cadence: Cadence, days: number, from: Instant = monday): void {
  for (let day = 0; day < days; day++) {
    const midnight = from + day * dayMs;
    if (Math.round((midnight - monday) / dayMs) % 7 >= 5) continue;
    for (let at = midnight + 8 * hourMs; at <= midnight + 18 * hourMs; at += 3 * minuteMs) cadence.note('ehr-feed', at);
  }
}

const silent = (cadence: Cadence, at: Instant) => cadence.silence('ehr-feed', at)?.isUnusual;

describe('silence', () => {
  it('of an hour on a working morning is unusual; of a night and of a weekend it is not', () => {
    const cadence = new Cadence(db);
    work(cadence, 21);
    // Friday evening to Monday morning, three weeks later.
    expect(silent(cadence, monday + 19 * dayMs + 3 * hourMs)).toBe(false);
    expect(silent(cadence, monday + 21 * dayMs + 7 * hourMs)).toBe(false);
    const morning = monday + 21 * dayMs + 9 * hourMs;
    for (let at = morning - hourMs; at <= morning; at += 3 * minuteMs) cadence.note('ehr-feed', at);
    expect(silent(cadence, morning + 15 * minuteMs)).toBe(false);
    expect(silent(cadence, morning + hourMs)).toBe(true);
  });

  it('of a weekday night is told when the morning passes without a word', () => {
    const cadence = new Cadence(db);
    work(cadence, 23);
    const wednesday = monday + 23 * dayMs;
    expect(silent(cadence, wednesday + 9 * hourMs)).toBe(false);
    expect(silent(cadence, wednesday + dayMs)).toBe(true);
  });

  it('is not judged in the first two weeks, nor before anything came', () => {
    const cadence = new Cadence(db);
    expect(cadence.silence('ehr-feed', monday)).toBeUndefined();
    work(cadence, 12);
    expect(cadence.silence('ehr-feed', monday + 13.9 * dayMs)).toMatchObject({ isUnusual: false });
    expect(cadence.silence('ehr-feed', monday + 13.9 * dayMs)).not.toHaveProperty('usualMs');
  });

  it('is remembered over a restart', () => {
    const first = new Cadence(db);
    work(first, 21);
    first.save();
    const second = new Cadence(db);
    const morning = monday + 21 * dayMs + 9 * hourMs;
    second.note('ehr-feed', morning);
    expect(second.silence('ehr-feed', morning + hourMs)).toEqual({
      silentMs: hourMs,
      usualMs: 3 * minuteMs,
      isUnusual: true,
    });
  });

  it('of one long outage does not make the next one usual', () => {
    const cadence = new Cadence(db);
    work(cadence, 21);
    const morning = monday + 21 * dayMs + 9 * hourMs;
    cadence.note('ehr-feed', morning);
    cadence.note('ehr-feed', morning + 30 * hourMs);
    cadence.note('ehr-feed', morning + 7 * dayMs);
    expect(silent(cadence, morning + 7 * dayMs + hourMs)).toBe(true);
  });

  it('is not negative when the clock goes back', () => {
    const cadence = new Cadence(db);
    cadence.note('ehr-feed', monday);
    expect(cadence.silence('ehr-feed', monday - hourMs)).toMatchObject({ silentMs: 0 });
    cadence.note('ehr-feed', monday - hourMs);
    cadence.save();
  });

  it('is learned for a bounded number of hours, whatever comes', () => {
    const cadence = new Cadence(db);
    for (let count = 0; count < 5_000; count++) cadence.note('ehr-feed', monday + count * 37 * minuteMs);
    cadence.save();
    expect(db.prepare('SELECT count(*) AS rows FROM cadence').get()).toEqual({ rows: 168 });
  });
});
