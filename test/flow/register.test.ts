import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addNoticeVersion, type ImportResult, importRegister, notify } from '../../agent/flow/register.ts';
import { parseRegisterFile } from '../../agent/gate/register-file.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import { breaches, dayMs, Flow, nameOf, record } from './harness.ts';

let flow: Flow;
beforeEach(() => {
  flow = new Flow();
  flow.filed();
});
afterEach(() => {
  expect(breaches(flow.store)).toEqual([]);
  flow.remove();
});

const told = (id: string, asOf = '2026-11-23') => `${id},article-57,notice-article-57,2026-04-01,,${asOf}`;
const stopped = (id: string, on = '2026-11-20') => `${id},article-57,notice-article-57,2026-04-01,${on},2026-11-23`;
const many = (count: number) => Array.from({ length: count }, (_, index) => told(String(index + 1)));

async function take(
  lines: readonly string[],
  options: { acceptShrink?: boolean; pause?: () => void } = {},
): Promise<ImportResult> {
  const { register, time } = { ...flow.store, time: flow.time };
  const notices = new Map(register.noticeVersions().map(({ version, basis }) => [version, basis]));
  const text = ['patient_id,basis,notice,notified_on,stopped_on,as_of', ...lines, ''].join('\n');
  return importRegister(flow.store, parseRegisterFile(Buffer.from(text), notices, time.now()), {
    report: 'list.csv.report',
    via: 'file',
    nameOf,
    acceptShrink: options.acceptShrink ?? false,
    pause: () => Promise.resolve(options.pause?.()),
    finish: (after) => flow.finish(after),
  });
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'no error',
    (error: unknown) => (error instanceof ConnectorError ? error.code : String(error)),
  );
}

describe('a register file', () => {
  it('lets those it names pass, and stops those it says have stopped', async () => {
    const [one, two] = await flow.offer(record({ key: 'a', patient: '1' }), record({ key: 'b', patient: '2' }));
    expect(await take([told('1'), stopped('2')])).toEqual({ notices: 2, stops: 1, rejected: 0, isBlocked: false });
    await flow.refresh();
    expect([flow.states(one)['ldi'], flow.states(two)['ldi']]).toEqual(['ready', 'stopped']);
    expect(flow.isPresent(two)).toBe(false);
  });

  it('read again changes nothing but its own entry', async () => {
    await take([told('1'), stopped('2')]);
    expect(await take([told('1'), stopped('2')])).toMatchObject({ notices: 0, stops: 0 });
    expect(flow.store.journal.read()).toHaveLength(1);
  });

  it('breaks off the uploads of everybody it stops, also of many at once', async () => {
    const ids = Array.from({ length: 40 }, (_, index) => String(index + 1));
    await take(ids.map((id) => told(id)));
    await flow.offer(...ids.map((patient) => record({ patient, key: patient })));
    const parcel = await flow.sealed();
    const later = await flow.offer(...ids.map((patient) => record({ patient, key: `later ${patient}` })));
    expect(await take(ids.map((id) => stopped(id)))).toMatchObject({ stops: 40 });
    expect(flow.aborted).toEqual([parcel.pid]);
    expect(new Set(later.map((result) => flow.states(result)['ldi']))).toEqual(new Set(['stopped']));
    expect(flow.store.journal.read()).toHaveLength(40);
    expect(await take(ids.map((id) => stopped(id)))).toMatchObject({ stops: 0 });
  });

  it('does not take back a notice or a stop by leaving them out', async () => {
    await take([told('1'), stopped('2')]);
    await take([told('3')]);
    expect(await flow.outcomes(record({ key: 'a' }), record({ key: 'b', patient: '2' }))).toEqual(['kept', 'refused']);
  });

  it('is refused with REGISTER_SHRUNK when half its rows are missing, and nothing of it is taken', async () => {
    await take(many(40));
    expect(await codeOf(take([...many(19), stopped('2')]))).toBe('REGISTER_SHRUNK');
    expect(await flow.outcomes(record({ patient: '2' }))).toEqual(['kept']);
    expect(await codeOf(take([...many(19), stopped('2')], { acceptShrink: true }))).toBe('no error');
    expect(await flow.outcomes(record({ key: 'b', patient: '2' }))).toEqual(['refused']);
  });

  it.each([
    [40, 32, 'no error'],
    [40, 31, 'REGISTER_SHRUNK'],
    [19, 1, 'no error'],
    [20, 15, 'REGISTER_SHRUNK'],
  ])('of %d rows may be followed by one of %d: %s', async (before, after, code) => {
    await take(many(before));
    expect(await codeOf(take(many(after)))).toBe(code);
  });

  it('that says nothing has changed refreshes, and does not count as a shrink, now or later', async () => {
    await take(many(40));
    flow.time.advanceDays(3);
    expect(await codeOf(take([',,,,,2026-11-26']))).toBe('no error');
    flow.time.advanceDays(3);
    expect(flow.store.gate.paused()).toBeUndefined();
    expect(await codeOf(take(many(19)))).toBe('REGISTER_SHRUNK');
  });

  it('is as fresh as the day it speaks for, not as the day it came', async () => {
    await take([told('1', '2026-11-18')]);
    expect(flow.store.gate.paused()).toBe('register-stale');
  });

  it('counts as read only when all of it was: a crash in the middle leaves the old freshness', async () => {
    await take([told('1', '2026-11-20')]);
    const broken = take([...many(1_200)], {
      pause: () => {
        throw new Error('the power went');
      },
    });
    await expect(broken).rejects.toThrow('the power went');
    expect(flow.store.gate.asOf()).toBe(Date.parse('2026-11-20T00:00:00+09:00'));
    expect(await take(many(1_200))).toMatchObject({ notices: 700 });
    expect(flow.store.gate.asOf()).toBe(Date.parse('2026-11-23T00:00:00+09:00'));
  });

  it('enters its stops before anything else', async () => {
    let seen: string[] = [];
    const lines = [...many(600), stopped('999')];
    await take(lines, {
      pause: () => {
        seen = [...seen, ...flow.store.journal.read().map(({ name }) => name.normalized)];
      },
    });
    expect(seen[0]).toBe('999');
  });
});

describe('REQ-ELIG-4: a row that may be a stop and cannot be read', () => {
  it('pauses everything until a whole list without one has come', async () => {
    flow.told('1');
    const [waiting] = await flow.offer(record());
    const id = await flow.packed();
    expect(await take([told('1'), '2,article-57,,,gestern,2026-11-23'])).toMatchObject({
      isBlocked: true,
      rejected: 1,
    });
    expect(flow.events).toContainEqual(expect.objectContaining({ name: 'register.refused', code: 'REGISTER_BLOCKED' }));
    expect(await flow.publish(id)).toBe('paused');
    await take([',,,,,2026-11-23']);
    expect(await flow.publish(id)).toBe('paused');
    await take([told('1'), stopped('2')]);
    expect(await flow.publish(id)).toBe('published');
    expect(flow.states(waiting)['ldi']).toBe('packed');
    expect([...flow.store.ledger.entries()].map(({ kind }) => kind)).toContain('unblock');
  });

  it('pauses even when the file is broken off behind it', async () => {
    await take(many(40));
    expect(await codeOf(take(['2,article-57,,,gestern,2026-11-23']))).toBe('REGISTER_SHRUNK');
    expect(flow.store.gate.paused()).toBe('register-stale');
  });
});

describe('entries by hand', () => {
  it('refuse a notice version that is there, NOTICE_EXISTS, and one that is not, NOTICE_UNKNOWN', async () => {
    const version = {
      version: 'notice-article-57',
      basis: 'article-57',
      categories: ['image'],
      from: '2026-01-01',
    } as const;
    expect(() => addNoticeVersion(flow.store, version, 'test')).toThrow(
      expect.objectContaining({ code: 'NOTICE_EXISTS' }),
    );
    const unknown = { name: nameOf('1'), version: 'v9', on: '2026-01-01', via: 'test' };
    expect(() => notify(flow.store, unknown)).toThrow(expect.objectContaining({ code: 'NOTICE_UNKNOWN' }));
    expect(flow.store.subjects.find(nameOf('1'))).toBeUndefined();
  });

  it('make ready at once what waited for them', async () => {
    const [result] = await flow.offer(record());
    flow.told('1');
    expect(flow.states(result)).toEqual({ ldi: 'ready' });
  });

  it('keep a register fresh that is kept by hand', () => {
    flow.told('1');
    flow.time.at += 5 * dayMs;
    expect(flow.store.gate.paused()).toBe('register-stale');
    flow.told('2');
    expect(flow.store.gate.paused()).toBeUndefined();
  });
});
