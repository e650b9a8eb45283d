import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CrashMarker } from '../../agent/health/index.ts';
import type { ConnectorEvent } from '../../agent/model/events.ts';
import { FakeClock, hourMs, minuteMs, secondMs } from '../base/fake-clock.ts';

let folder: string;
let path: string;
let events: ConnectorEvent[];
let clock: FakeClock;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'crash-'));
  path = join(folder, 'starts.json');
  events = [];
  clock = new FakeClock('2026-11-23T10:00:00+09:00');
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function start(): CrashMarker {
  const marker = new CrashMarker({ path, clock, report: (event) => void events.push(event) });
  marker.begin();
  return marker;
}

/** A first start and `count` more, none of which ended in order. */
function crashes(count: number, everyMs = 10 * secondMs): CrashMarker {
  let marker = start();
  for (let crash = 0; crash < count; crash++) {
    clock.freeze(everyMs);
    marker = start();
  }
  return marker;
}

describe('safe mode', () => {
  it('begins with the fifth crash in ten minutes, not with the fourth', () => {
    expect(crashes(4).isSafeMode()).toBe(false);
    clock.freeze(10 * secondMs);
    const fifth = start();
    expect(fifth.isSafeMode()).toBe(true);
    expect(fifth.recentCrashes()).toBe(5);
  });

  it('does not begin with orderly stops, nor with crashes hours apart', () => {
    for (let count = 0; count < 12; count++) start().end();
    expect(start().recentCrashes()).toBe(0);
    expect(crashes(12, hourMs).isSafeMode()).toBe(false);
  });

  it('lasts over more crashes and restarts, until six hours are over', () => {
    crashes(5);
    clock.freeze(5 * hourMs);
    const later = crashes(3);
    expect(later.isSafeMode()).toBe(true);
    clock.freeze(hourMs);
    expect(later.isSafeMode()).toBe(false);
    expect(start().isSafeMode()).toBe(false);
  });

  it('ends by an operator’s word, also for the next start, and needs five new crashes', () => {
    crashes(5).leaveSafeMode();
    expect(crashes(3).isSafeMode()).toBe(false);
    expect(crashes(4).isSafeMode()).toBe(true);
  });

  it('is not escaped by a clock that goes back between the crashes', () => {
    for (let count = 0; count < 6; count++) {
      start();
      clock.step(-minuteMs);
    }
    expect(start().isSafeMode()).toBe(true);
  });

  it('comes by real kill -9, and not by clean ends', () => {
    const run = (end: string) => {
      const script = new URL('child-crash.ts', import.meta.url).pathname;
      return spawnSync(process.execPath, [script, path, end], { encoding: 'utf8' }).stdout;
    };
    expect([run('clean'), run('clean')]).toEqual(['normal', 'normal']);
    const modes = Array.from({ length: 6 }, () => run('kill'));
    expect(modes).toEqual(['normal', 'normal', 'normal', 'normal', 'normal', 'safe']);
    expect(run('clean')).toBe('safe');
  });
});

describe('the marker file', () => {
  it('may be damaged in any way and never keeps the agent from starting', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.json(), fc.constant('{"v":1,"isRunning":true,"crashes":["x"],"safeSince":null}')),
        (text) => {
          writeFileSync(path, text);
          const marker = start();
          expect(marker.isSafeMode()).toBe(false);
          marker.end();
          expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ v: 1, isRunning: false });
        },
      ),
    );
  });

  it('counts as a crash when it was cut short, because nothing orderly does that', () => {
    start();
    truncateSync(path, 5);
    expect(start().recentCrashes()).toBe(1);
  });

  it('that cannot be written is told and does not stop the start', () => {
    // A folder in its place, which root cannot write over either.
    mkdirSync(path);
    chmodSync(path, 0o500);
    const marker = start();
    expect(marker.isSafeMode()).toBe(false);
    expect(events).toContainEqual({ name: 'schedule.failed', word: 'crash-marker', code: 'BUFFER_FAILED' });
  });

  it('stays small however often it crashes', () => {
    crashes(200, secondMs);
    expect(readFileSync(path).length).toBeLessThan(1_000);
  });
});
