import { spawnSync } from 'node:child_process';
import * as fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { createLog, type Log } from '../../agent/base/log.ts';
import { errorTable } from '../../agent/model/errors.ts';
import type { ConnectorEvent } from '../../agent/model/events.ts';
import { FakeClock, minuteMs, secondMs } from './fake-clock.ts';

type Line = Readonly<Record<string, unknown>> & { readonly repeatedCount?: number };

/** One of each level, and two of the urgent ones. */
const eventNames = ['parcel.stored', 'clock.stepped', 'disk.low', 'ship.failed', 'source.failed'] as const;

const parse = (text: string): Line => JSON.parse(text);

let lines: Line[];
let clock: FakeClock;
let log: Log;

beforeEach(() => {
  lines = [];
  clock = new FakeClock('2026-11-23T22:30:00+09:00');
  log = createLog({ clock, to: { write: (text: string) => void lines.push(parse(text)) } });
});

const full: ConnectorEvent = { name: 'ship.failed', producer: 'ldi', code: 'BUFFER_FULL', numbers: { durationMs: 12 } };

describe('a log line', () => {
  it('has the level of the table, Japanese time, the event and its fields, and nothing of the machine', () => {
    log.report({ name: 'parcel.stored', producer: 'ldi', parcel: '0197-ab', numbers: { records: 500 } });
    expect(lines).toEqual([
      {
        level: 'info',
        time: '2026-11-23T22:30:00.000+09:00',
        event: 'parcel.stored',
        producer: 'ldi',
        parcel: '0197-ab',
        records: 500,
      },
    ]);
  });

  it('tells an error by its code and what to do', () => {
    log.report(full);
    expect(lines[0]).toMatchObject({
      level: 'error',
      code: 'BUFFER_FULL',
      hint: errorTable.BUFFER_FULL.hint,
      durationMs: 12,
    });
  });

  it('is one line whatever the words are, and withholds what has not the form of a name', () => {
    const words = fc.string({ unit: 'binary', maxLength: 200 });
    fc.assert(
      fc.property(words, words, words, fc.dictionary(words, fc.double()), (source, word, parcel, numbers) => {
        lines = [];
        log.report({ name: 'source.connected', source, word, parcel, numbers });
        log.report({ name: 'source.listening', source, word, parcel, numbers });
        expect(lines).toHaveLength(1);
        for (const value of Object.values(lines[0] ?? {})) expect(JSON.stringify(value).length).toBeLessThan(140);
      }),
    );
    log.report({ name: 'source.listening', word: 'MSH|^~\\&|EHR\rPID|1||0001^^^架橋 太郎' });
    expect(JSON.stringify(lines)).not.toContain('架橋');
    log.report({ name: 'source.listening', source: '電子カルテ' });
    expect(lines.at(-1)).toMatchObject({ source: '電子カルテ' });
  });

  it('cannot be given a field that is not of the event’s type', () => {
    const event: ConnectorEvent = JSON.parse(
      '{"name":"agent.started","patient":"架橋 太郎","numbers":{"a":1,"架橋":2,"b":"太郎"}}',
    );
    log.report(event);
    expect(lines[0]).toEqual({ level: 'info', time: expect.any(String), event: 'agent.started', a: 1 });
  });

  it('is not written below the level asked for, but counted', () => {
    log.report({ name: 'source.connected' });
    expect(lines).toEqual([]);
    expect(log.counters().get('source.connected')).toBe(1);
  });
});

describe('repeated warnings', () => {
  it('are told once, then by their number each minute, then forgotten', () => {
    for (let second = 0; second < 150; second++) {
      log.report({ ...full, numbers: { durationMs: second } });
      clock.freeze(secondMs);
    }
    const counts = lines.map(({ repeatedCount = 0 }) => repeatedCount);
    expect(counts.length).toBeLessThanOrEqual(4);
    log.flush();
    expect(lines.reduce((sum, { repeatedCount = 0 }) => sum + repeatedCount, 1)).toBe(150);
    expect(log.counters().get('ship.failed')).toBe(150);
    clock.freeze(2 * minuteMs);
    log.sweep();
    const before = lines.length;
    log.report(full);
    expect(lines).toHaveLength(before + 1);
    expect(lines.at(-1)).not.toHaveProperty('repeatedCount');
  });

  it('of another source, code or word are other warnings', () => {
    log.report({ name: 'source.failed', source: 'pacs', code: 'BUFFER_FULL' });
    log.report({ name: 'source.failed', source: 'ehr', code: 'BUFFER_FULL' });
    log.report({ name: 'source.failed', source: 'ehr', code: 'BUFFER_FAILED' });
    expect(lines).toHaveLength(3);
  });

  it('do not hold back what is not a warning', () => {
    for (let count = 0; count < 5; count++) log.report({ name: 'parcel.stored', parcel: 'p' });
    expect(lines).toHaveLength(5);
  });

  it('are remembered in a bounded list, and none is lost when it is full', () => {
    for (let round = 0; round < 2; round++) {
      for (let number = 0; number < 1_500; number++) log.report({ name: 'parcel.voided', parcel: `p${number}` });
    }
    log.flush();
    const told = lines.reduce((sum, { repeatedCount = 0 }) => sum + repeatedCount, 0);
    const first = lines.filter(({ repeatedCount }) => repeatedCount === undefined).length;
    expect(told + first).toBe(3_000);
    // The list holds a thousand: the second round finds none of the first 500 any more.
    expect(first).toBeGreaterThan(1_500);
  });

  it('add up, in any mixture over any time, to what was reported', () => {
    const anyName = fc.constantFrom(...eventNames);
    const anyCode = fc.constantFrom('USAGE' as const, 'BUFFER_FULL' as const, 'SEAL_BROKEN' as const);
    const anyEvent = fc.record({ name: anyName, code: anyCode, waitMs: fc.nat(40 * secondMs) });
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 80 }), (events) => {
        lines = [];
        for (const { name, code, waitMs } of events) {
          log.report({ name, code });
          clock.freeze(waitMs);
        }
        log.flush();
        const told = lines.reduce((sum, { repeatedCount = 1 }) => sum + repeatedCount, 0);
        expect(told).toBe(events.length);
        clock.freeze(2 * minuteMs);
        log.sweep();
      }),
    );
  });
});

describe('at the end of the process', () => {
  it('what was buffered is on stdout', () => {
    const script = new URL('child-log.ts', import.meta.url).pathname;
    const { stdout } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
    const written = stdout
      .trimEnd()
      .split('\n')
      .map((line) => parse(line));
    expect(written).toHaveLength(500 + 1 + 1 + 1);
    expect(written.at(-2)).toMatchObject({ event: 'ship.failed', repeatedCount: 499 });
    expect(written.at(-1)).toMatchObject({ event: 'agent.stopped' });
  });
});
