import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { discardQuarantined, releaseQuarantined } from '../../agent/flow/quarantine.ts';
import { anon, breaches, Flow, ldi, nameOf, record } from './harness.ts';

let flow: Flow;
beforeEach(() => {
  flow = new Flow();
  flow.filed();
  flow.told('1');
});
afterEach(() => flow.remove());

async function setAside(): Promise<number> {
  await flow.offer(record({ facts: { quarantine: 'NO_PATIENT', patients: [] } }));
  return flow.store.records.quarantined(0, 1)[0]?.id ?? 0;
}

describe('quarantine', () => {
  it('lets a record out to the gate once somebody says whose it is', async () => {
    const row = await setAside();
    expect(releaseQuarantined(flow.store, row, { patient: nameOf('1') })).toBe('kept');
    expect(flow.store.records.quarantinedCount()).toBe(0);
    const parcel = await flow.delivered();
    expect(parcel.records).toBe(1);
  });

  it('holds a released record of a patient nobody was told about', async () => {
    expect(releaseQuarantined(flow.store, await setAside(), { patient: nameOf('2') })).toBe('held');
  });

  it('refuses to release a record without a patient', async () => {
    const row = await setAside();
    expect(() => releaseQuarantined(flow.store, row, {})).toThrow(
      expect.objectContaining({ code: 'QUARANTINE_NEEDS_PATIENT' }),
    );
    expect(flow.store.records.quarantinedCount()).toBe(1);
  });

  it('knows no record that is not set aside', () => {
    expect(() => discardQuarantined(flow.store, 999)).toThrow(
      expect.objectContaining({ code: 'QUARANTINE_NOT_FOUND' }),
    );
  });

  it('destroys what is discarded, and says so in the ledger', async () => {
    const row = await setAside();
    await flow.finish(discardQuarantined(flow.store, row));
    expect(flow.store.records.body(row)).toBeUndefined();
    expect([...flow.store.ledger.entries()].at(-1)).toMatchObject({ kind: 'quarantine', body: { act: 'discard' } });
  });

  it('keeps nothing of a record that turns out to be of somebody who has stopped', async () => {
    const row = await setAside();
    await flow.stop('1');
    expect(releaseQuarantined(flow.store, row, { patient: nameOf('1') })).toBe('refused');
    expect(flow.store.records.body(row)).toBeUndefined();
    expect(breaches(flow.store)).toEqual([]);
  });

  it('sends a record under the item a person has named', async () => {
    await flow.offer(record({ category: 'unclassified', facts: { quarantine: 'UNREADABLE', patients: [] } }));
    const row = flow.store.records.quarantined(0, 1)[0]?.id ?? 0;
    expect(releaseQuarantined(flow.store, row, { patient: nameOf('1'), category: 'image' })).toBe('kept');
    expect((await flow.delivered()).state).toBe('opened');
  });

  it('does not deliver again what one producer had before it was damaged here', async () => {
    flow = flow.reopen({ producers: [ldi, anon] });
    flow.filed(anon);
    flow.told('1', { basis: 'article-52' });
    const [result] = await flow.offer(record());
    await flow.delivered('ldi');
    flow.store.db.exec("UPDATE record SET quarantine = 'DAMAGED'");
    expect(releaseQuarantined(flow.store, 1, {})).toBe('kept');
    expect(flow.states(result)).toEqual({ ldi: 'opened', anon: 'ready' });
  });

  it('discards a damaged record with the deliveries that waited for a decision', async () => {
    const [result] = await flow.offer(record());
    flow.store.db.exec('UPDATE record SET payload = zeroblob(length(payload))');
    await expect(flow.packed()).rejects.toThrow('nothing was packed');
    await flow.finish(discardQuarantined(flow.store, 1));
    expect(flow.states(result)).toEqual({ ldi: 'refused' });
    expect(breaches(flow.store)).toEqual([]);
  });
});
