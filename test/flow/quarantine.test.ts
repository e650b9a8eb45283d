import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { discardQuarantined, releaseQuarantined } from '../../agent/flow/quarantine.ts';
import { Flow, nameOf, record } from './harness.ts';

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
});
