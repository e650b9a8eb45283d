import { type AfterCommit, nothingAfter, type ProducerRow, type Store } from './store.ts';

/** Reason of a stored parcel whose payloads were given up although nobody has opened it yet. */
const givenUp = 'retention';

/**
 * `retention.afterStored`: destroys the payloads of parcels that were stored so long ago and never opened. Off unless
 * the hospital asks for it, because a producer that cannot open a parcel then cannot be sent it again. One parcel a
 * call; returns undefined when there is none.
 */
export function giveUpStored(store: Store, producer: ProducerRow, afterStoredMs: number): AfterCommit | undefined {
  const before = store.time.now() - afterStoredMs;
  const parcel = store.parcels
    .inState('stored', producer.id)
    .find(({ storedAt, reason }) => storedAt !== null && storedAt < before && reason !== givenUp);
  if (!parcel) return undefined;
  return store.db
    .transaction(() => {
      const after = nothingAfter();
      const at = store.time.now();
      for (const { record } of store.deliveries.ofParcel(parcel.id)) {
        const others = store.deliveries
          .of(record)
          .some(({ state }) => state === 'held' || state === 'ready' || state === 'packed');
        const spooled = others ? undefined : store.records.destroy(record);
        if (spooled) after.spool.push(spooled);
      }
      store.parcels.move(parcel.id, 'stored', { at, reason: givenUp });
      store.ledger.append('expired', at, { parcel: parcel.pid, reason: givenUp });
      return after;
    })
    .immediate();
}
