import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Db, openDatabase } from '../../agent/base/database.ts';
import { clockMigration, TrustedClock } from '../../agent/health/index.ts';
import type { ConnectorEvent } from '../../agent/model/events.ts';
import { dayMs, FakeClock, hourMs, jst, minuteMs, secondMs } from '../base/fake-clock.ts';

let folder: string;
let db: Db;
let events: ConnectorEvent[];
let clock: FakeClock;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'clock-'));
  db = openDatabase(join(folder, 'state.db'), [clockMigration]);
  events = [];
  clock = new FakeClock('2026-11-23T10:00:00+09:00');
});

afterEach(() => {
  db.close();
  rmSync(folder, { recursive: true });
});

const trusting = () => new TrustedClock({ db, clock, report: (event) => void events.push(event) });

const told = () => events.map(({ name, word }) => (word === undefined ? name : `${name} ${word}`));

describe('the trusted clock', () => {
  it('is not trusted after a start until a producer agrees', () => {
    const trusted = trusting();
    expect(trusted.status()).toEqual({ trusted: false, reason: 'unconfirmed' });
    trusted.confirm(clock.now(), 40);
    expect(trusted.status()).toMatchObject({ trusted: true });
    expect(told()).toEqual(['clock.trusted']);
    expect(trusting().isTrusted()).toBe(false);
  });

  it('that is 40 days ahead holds everything and says so, and holds nothing against the right time afterwards', () => {
    const truth = clock.now();
    clock.step(40 * dayMs);
    const trusted = trusting();
    trusted.confirm(truth, 40);
    expect(trusted.status()).toMatchObject({ trusted: false, reason: 'ahead' });
    expect(Math.round((trusted.status().offsetMs ?? 0) / dayMs)).toBe(40);
    expect(told()).toEqual(['clock.distrusted ahead']);
    trusted.save();
    // Put right by hand: the wrong time has left no mark.
    clock.step(-40 * dayMs);
    trusted.confirm(truth, 40);
    expect(trusted.isTrusted()).toBe(true);
    expect(trusted.today()).toBe('2026-11-23');
  });

  it.each([6 * minuteMs, -6 * minuteMs, 40 * dayMs, -40 * dayMs])(
    'loses its trust by a step of %d ms, without being told',
    (stepMs) => {
      const trusted = trusting();
      trusted.confirm(clock.now(), 40);
      clock.step(stepMs);
      expect(trusted.isTrusted()).toBe(false);
      expect(events.at(-1)).toEqual({ name: 'clock.distrusted', word: 'stepped', numbers: { differenceMs: stepMs } });
      trusted.confirm(clock.now() - stepMs, 40);
      expect(trusted.isTrusted()).toBe(false);
    },
  );

  it('sees small steps that add up', () => {
    const trusted = trusting();
    trusted.confirm(clock.now(), 40);
    for (let count = 0; count < 3; count++) {
      clock.step(2 * minuteMs);
      clock.freeze(hourMs);
      trusted.isTrusted();
    }
    expect(trusted.isTrusted()).toBe(false);
  });

  it('keeps its trust through a step of four minutes and through any time without a step', () => {
    const trusted = trusting();
    trusted.confirm(clock.now(), 40);
    clock.step(-4 * minuteMs);
    clock.freeze(30 * dayMs);
    expect(trusted.isTrusted()).toBe(true);
  });

  it('does not agree in doubt: five minutes, less what the answer may be late by', () => {
    const trusted = trusting();
    const date = clock.now() - 500;
    trusted.confirm(date - 5 * minuteMs, 0);
    expect(trusted.isTrusted()).toBe(true);
    trusted.confirm(date - 5 * minuteMs - 1, 0);
    expect(trusted.isTrusted()).toBe(false);
    // The middle of the round trip fits exactly, but the answer may have been written at either end of it.
    trusted.confirm(date - 20 * secondMs - 4 * minuteMs - 50 * secondMs, 40 * secondMs);
    expect(trusted.isTrusted()).toBe(false);
  });

  it('learns nothing from an answer that took more than a minute, or has no date', () => {
    const trusted = trusting();
    for (const [date, roundTripMs] of [
      [clock.now(), minuteMs + 1],
      [NaN, 40],
      [clock.now(), NaN],
      [clock.now(), -1],
    ] as const) {
      trusted.confirm(date, roundTripMs);
    }
    expect(trusted.status()).toEqual({ trusted: false, reason: 'unconfirmed' });
  });

  it('never shows a day before one it has shown, not after a restart either', () => {
    const trusted = trusting();
    trusted.confirm(clock.now(), 40);
    clock.freeze(10 * dayMs);
    trusted.save();
    clock.step(-9 * dayMs);
    expect(trusted.today()).toBe('2026-12-03');
    const again = trusting();
    expect(again.today()).toBe('2026-12-03');
    // A producer that is wrong in the same way does not bring the past back.
    again.confirm(clock.now(), 40);
    expect(again.status()).toMatchObject({ trusted: false, reason: 'below-high-water' });
  });

  it('tells each change once', () => {
    const trusted = trusting();
    for (let count = 0; count < 3; count++) trusted.confirm(clock.now() - hourMs, 40);
    for (let count = 0; count < 3; count++) trusted.confirm(clock.now(), 40);
    clock.step(hourMs);
    for (let count = 0; count < 3; count++) trusted.isTrusted();
    expect(told()).toEqual(['clock.distrusted ahead', 'clock.trusted', 'clock.distrusted stepped']);
  });

  it('writes its mark at most once a minute', () => {
    const trusted = trusting();
    trusted.confirm(clock.now(), 40);
    const mark = () => db.prepare<[], { high_water: number }>('SELECT high_water FROM clock').get()?.high_water;
    const first = mark();
    clock.freeze(59 * secondMs);
    trusted.save();
    expect(mark()).toBe(first);
    clock.freeze(secondMs);
    trusted.save();
    expect(mark()).toBe(clock.now());
  });

  it('is trusted in no order of steps, restarts and answers while it is more than five minutes wrong', () => {
    const act = fc.oneof(
      fc.record({ act: fc.constant('step' as const), ms: fc.integer({ min: -60 * dayMs, max: 60 * dayMs }) }),
      fc.record({ act: fc.constant('step' as const), ms: fc.integer({ min: -8 * minuteMs, max: 8 * minuteMs }) }),
      fc.record({ act: fc.constant('pass' as const), ms: fc.nat(dayMs) }),
      fc.record({ act: fc.constant('answer' as const), ms: fc.nat(2_000) }),
      fc.record({ act: fc.constant('restart' as const), ms: fc.constant(0) }),
    );
    fc.assert(
      fc.property(fc.array(act, { maxLength: 30 }), (acts) => {
        db.exec('DELETE FROM clock');
        clock = new FakeClock('2026-11-23T10:00:00+09:00');
        let wrongMs = 0;
        let trusted = trusting();
        let latest = jst('2026-01-01 00:00');
        for (const { act, ms } of acts) {
          if (act === 'step') {
            clock.step(ms);
            wrongMs += ms;
          }
          if (act === 'pass') clock.freeze(ms);
          if (act === 'answer') trusted.confirm(clock.now() - wrongMs - ms / 2, ms);
          if (act === 'restart') trusted = trusting();
          // Agreement within five minutes, and a step of at most five since: never more than twice that.
          const isTrusted = trusted.isTrusted();
          const allowedMs = act === 'answer' ? 5 * minuteMs + 500 : 10 * minuteMs + 2_000;
          expect(isTrusted && Math.abs(wrongMs) > allowedMs).toBe(false);
          // The mark on disk may lag by a minute.
          expect(isTrusted && trusted.now() < latest - minuteMs).toBe(false);
          if (isTrusted) latest = Math.max(latest, trusted.now());
          trusted.save();
        }
      }),
      { numRuns: 300 },
    );
  });
});
