import { appendFileSync, copyFileSync, readdirSync, readFileSync, truncateSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { recover } from '../../agent/flow/recover.ts';
import { replayStops } from '../../agent/flow/stop.ts';
import { signJws } from '../../agent/base/jws.ts';
import { retract } from '../../agent/flow/enforce.ts';
import { anon, breaches, Flow, ldi, merge, nameOf, record } from './harness.ts';

let flow: Flow;
beforeEach(() => {
  flow = new Flow({ producers: [ldi, anon] });
  for (const producer of [ldi, anon]) {
    flow.filed(producer);
    for (const patient of ['1', '2']) flow.told(patient, { basis: producer.basis });
  }
});
afterEach(() => {
  expect(breaches(flow.store)).toEqual([]);
  flow.remove();
});

const openRetractions = (name = 'ldi') =>
  flow.store.retractions.open(flow.producer(name).id).map(({ id }) => flow.store.retractions.detail(id));

function diskBytes(): Buffer {
  flow.store.db.pragma('wal_checkpoint(TRUNCATE)');
  const files = readdirSync(flow.folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Buffer.concat(files.map((entry) => readFileSync(join(entry.parentPath, entry.name))));
}

describe('REQ-STOP-1: a stop', () => {
  it('ends everything that waits, and destroys it', async () => {
    const [ready] = await flow.offer(record());
    flow.filed(anon, ['image']);
    const [held] = await flow.offer(record({ key: 'HIS|2' }));
    const [quarantined] = await flow.offer(record({ key: 'HIS|3', facts: { quarantine: 'UNDECODABLE' } }));
    await flow.stop('1');
    expect(flow.states(ready)).toEqual({ ldi: 'stopped', anon: 'stopped' });
    expect(flow.states(held)).toEqual({ ldi: 'stopped', anon: 'stopped' });
    expect([ready, held, quarantined].map((result) => flow.isPresent(result))).toEqual([false, false, false]);
    expect(flow.store.records.quarantined(0, 10)).toEqual([]);
  });

  it('leaves no key and no sealed byte of it on the disk, neither in the database nor beside it', async () => {
    await flow.offer(record(), record({ key: 'HIS|2', body: Buffer.alloc(300_000, 5) }));
    const rows = flow.store.db
      .prepare<[], { wrapped_key: Buffer; facts: Buffer | null; payload: Buffer | null }>(
        'SELECT wrapped_key, facts, payload FROM record',
      )
      .all();
    const traces = rows.flatMap(({ wrapped_key, facts, payload }) => [
      wrapped_key,
      facts ?? wrapped_key,
      payload ?? wrapped_key,
    ]);
    expect(traces.every((trace) => diskBytes().includes(trace))).toBe(true);
    await flow.stop('1');
    const disk = diskBytes();
    expect(traces.some((trace) => disk.includes(trace) || disk.includes(trace.subarray(0, 24)))).toBe(false);
    expect(
      readdirSync(join(flow.folder, 'spool'), { recursive: true, withFileTypes: true }).filter((entry) =>
        entry.isFile(),
      ),
    ).toEqual([]);
  });

  it('on one basis leaves the other producer its payload', async () => {
    const [result] = await flow.offer(record());
    await flow.stop('1', 'article-57');
    expect(flow.states(result)).toEqual({ ldi: 'stopped', anon: 'ready' });
    expect((await flow.delivered('anon')).state).toBe('opened');
    expect(flow.isPresent(result)).toBe(false);
  });

  it('does not touch anybody else', async () => {
    const [mine, other] = await flow.offer(record(), record({ key: 'HIS|2', patient: '2' }));
    await flow.stop('1');
    expect(flow.states(other)).toEqual({ ldi: 'ready', anon: 'ready' });
    expect([flow.isPresent(mine), flow.isPresent(other)]).toEqual([false, true]);
  });

  it('breaks off the upload that carries this person, and only that one', async () => {
    await flow.offer(record());
    const mine = await flow.sealed('ldi');
    await flow.offer(record({ key: 'HIS|2', patient: '2' }));
    const other = await flow.sealed('ldi');
    await flow.stop('1');
    expect(flow.aborted).toEqual([mine.pid]);
    expect([flow.parcel(mine.id).state, flow.parcel(other.id).state]).toEqual(['voiding', 'sealed']);
  });

  it.each(['stored', 'opened'] as const)('retracts what was %s, once', async (status) => {
    const [result] = await flow.offer(record());
    const parcel = await flow.sealed();
    await flow.answered(parcel, 'stored');
    if (status === 'opened') await flow.answered(parcel, 'opened');
    await flow.stop('1', 'article-57');
    await flow.stop('1');
    expect(openRetractions()).toEqual([
      {
        subjectIds: [expect.any(String)],
        patientIds: ['001'],
        recordIds: [result?.recordId],
        parcelIds: [parcel.pid],
        effectiveAt: expect.any(String),
      },
    ]);
    expect(flow.states(result)).toEqual({ ldi: status, anon: 'stopped' });
  });

  it('names every subject and every number of a person who had several', async () => {
    await flow.offer(record(), record({ key: 'HIS|2', patient: '2' }), merge('2', '1'));
    await flow.delivered();
    await flow.stop('2');
    const [detail] = openRetractions();
    expect(detail?.patientIds.toSorted()).toEqual(['001', '002']);
    expect(detail?.subjectIds).toHaveLength(2);
    expect(detail?.recordIds).toHaveLength(3);
  });

  it('said twice is one stop', async () => {
    expect([await flow.stop('1'), await flow.stop('1')]).toEqual([true, false]);
    expect([...flow.store.ledger.entries()].filter(({ kind }) => kind === 'stop')).toHaveLength(1);
  });

  it('reaches what was offered under any of a person’s names', async () => {
    const alias = nameOf('Patient/9', 'fhir');
    const [own, linked] = await flow.offer(
      record({ facts: { aliases: [alias] } }),
      record({ key: 'Observation/1', facts: { patients: [alias] } }),
    );
    await flow.stop('1');
    expect([flow.isPresent(own), flow.isPresent(linked)]).toEqual([false, false]);
  });

  it.each(['ready', 'packed'])('ends a %s delivery to a producer that has left the configuration', async (state) => {
    const [result] = await flow.offer(record());
    if (state === 'packed') await flow.sealed('anon');
    expect(flow.states(result)['anon']).toBe(state);
    flow = flow.reopen({ producers: [ldi] });
    await flow.stop('1');
    flow = flow.reopen({ producers: [ldi, anon] });
    expect(flow.states(result)).toEqual({ ldi: 'stopped', anon: 'stopped' });
    expect(flow.isPresent(result)).toBe(false);
  });
});

describe('a retraction', () => {
  it.each([
    [400, 1],
    [401, 2],
    [1000, 3],
  ])('of %d records is %d messages, each small enough to be read', (records, messages) => {
    const { subjects, retractions, keys } = flow.store;
    const ids = Array.from({ length: records }, (_, index) => index.toString(16).padStart(32, '0'));
    const pids = Array.from({ length: records }, () => '01234567-89ab-cdef-0123-456789abcdef');
    const what = { recordIds: ids, parcelIds: new Set(pids.map((pid, index) => `${index}${pid}`.slice(0, 36))) };
    retract(flow.store, flow.producer(), subjects.ensure(nameOf('1')), what, flow.time.now());
    const details = retractions.open(flow.producer().id).map(({ id }) => retractions.detail(id));
    expect(details).toHaveLength(messages);
    expect(details.flatMap(({ recordIds }) => recordIds).toSorted()).toEqual(ids);
    const sizes = details.map((detail) => {
      // Encryption adds less than 1 KiB: a header of two recipients and a tag.
      const encrypted = Buffer.alloc(JSON.stringify(detail).length + 1024).toString('base64');
      return signJws(keys.signing, 'kakehashi-retraction+jws', { detail: encrypted, at: '' }).length;
    });
    expect(Math.max(...sizes)).toBeLessThan(64 * 1024);
  });
});

describe('a withdrawal', () => {
  it('lets records through that are offered from now on, and brings nothing back', async () => {
    const [gone] = await flow.offer(record());
    await flow.stop('1');
    expect(flow.withdraw('1')).toBe(1);
    await flow.refresh();
    expect(flow.isPresent(gone)).toBe(false);
    expect(await flow.outcomes(record({ key: 'HIS|2' }))).toEqual(['kept']);
  });

  it('of a stop that was never made is nothing', () => {
    expect([flow.withdraw('1'), flow.withdraw('9')]).toEqual([0, 0]);
  });

  it('ends the stops of everyone this person became one with', async () => {
    await flow.stop('1', 'article-57');
    await flow.stop('2');
    await flow.offer(merge('2', '1'));
    expect(flow.withdraw('2')).toBe(2);
    expect(await flow.outcomes(record({ key: 'HIS|2' }))).toEqual(['kept']);
  });
});

describe('the journal of stops', () => {
  const journal = () => join(flow.folder, 'stops.journal');

  it('names nobody in the clear', async () => {
    await flow.stop('4711');
    expect(readFileSync(journal()).includes('4711')).toBe(false);
  });

  it('makes a stop true that an older database does not know', async () => {
    const [result] = await flow.offer(record());
    flow.close();
    const path = join(flow.folder, 'connector.sqlite');
    copyFileSync(path, join(flow.folder, 'backup.sqlite'));
    flow = flow.reopen();
    await flow.stop('1');
    flow.close();
    copyFileSync(join(flow.folder, 'backup.sqlite'), path);
    flow = flow.reopen();
    expect(flow.states(result)).toEqual({ ldi: 'ready', anon: 'ready' });
    expect(await recover(flow.store)).toMatchObject({ stops: 1 });
    expect(flow.states(result)).toEqual({ ldi: 'stopped', anon: 'stopped' });
    expect(await recover(flow.store)).toMatchObject({ stops: 0 });
  });

  it.each<[string, () => Promise<unknown>, () => unknown]>([
    ['by the same name and basis', () => flow.stop('1', 'article-57'), () => flow.withdraw('1', 'article-57')],
    ['by all bases after one', () => flow.stop('1', 'article-57'), () => flow.withdraw('1')],
    ['by another name of the same person', () => flow.stop('2'), () => flow.withdraw('1')],
    ['after it was said twice', () => flow.stop('1').then(() => flow.stop('1')), () => flow.withdraw('1')],
  ])('does not bring back a stop that was withdrawn %s', async (_, stop, withdraw) => {
    await flow.offer(merge('2', '1'));
    await stop();
    withdraw();
    expect(replayStops(flow.store).count).toBe(0);
    expect(await flow.outcomes(record({ key: 'HIS|2' }))).toEqual(['kept']);
  });

  it('goes on behind a line that a power cut left half', async () => {
    await flow.stop('1');
    await flow.stop('2', 'article-57');
    truncateSync(journal(), statSync(journal()).size - 10);
    expect(flow.store.journal.read()).toHaveLength(1);
    await flow.stop('3');
    expect(flow.store.journal.read().map(({ name }) => name.normalized)).toEqual(['1', '3']);
  });

  it('says so when a whole line was altered', () => {
    appendFileSync(journal(), 'AAAA\n');
    expect(() => flow.store.journal.read()).toThrow(expect.objectContaining({ code: 'SEAL_BROKEN' }));
  });
});
