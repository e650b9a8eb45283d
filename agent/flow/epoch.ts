import type { HoldReason } from '../model/ports.ts';
import { voidParcel } from './enforce.ts';
import { nothingAfter, type Store } from './store.ts';

/** Published by the state that was backed up, and not yet known to have arrived or not. */
const underWay = ['sealed', 'uploading', 'voiding'] as const;

/**
 * Makes a restored copy the installation that producers hear, and returns its epoch. It ships nothing until `believe`.
 *
 * What the copy had published is taken back: its statements carry the old epoch, which producers refuse from now on,
 * and what became of it after the backup only they know. The answer to each DELETE tells, and what had not arrived is
 * packed anew, under the same record ids.
 */
export function beginEpoch(store: Store): number {
  const { db, ledger, parcels, producers, settings, time } = store;
  const at = time.now();
  // Seconds since 1970 and not the next number: of two machines restored from one backup, the later must win.
  const epoch = Math.max(store.epoch + 1, Math.floor(at / 1000));
  db.transaction(() => {
    settings.set('epoch', String(epoch));
    settings.set('confirm-shipping', String(at));
    ledger.append('restore', at, { epoch });
    for (const parcel of producers.flatMap(({ id }) => underWay.flatMap((state) => parcels.inState(state, id)))) {
      // How far the upload came after the backup is not known: whoever stops is retracted, should the DELETE not say.
      parcels.sending(parcel.id, parcel.bytes ?? 0);
      voidParcel(store, parcel.id, { reason: 'restored', at, after: nothingAfter() });
    }
  }).immediate();
  return epoch;
}

/** Why nobody's record may leave now, whoever it is; undefined when the gate may be asked about each. */
export function pausedBy({ gate, settings }: Store): HoldReason | 'restored' | undefined {
  return gate.paused() ?? (settings.get('confirm-shipping') === undefined ? undefined : 'restored');
}

/** A person's word that the restored state is to be believed. Harmless when nothing was restored. */
export function believe({ settings }: Store): void {
  settings.remove('confirm-shipping');
}

/** A register made after the restore knows of every stop the backup may have missed. */
export function believeIfFresh(store: Store): void {
  const restoredAt = store.settings.get('confirm-shipping');
  if (restoredAt !== undefined && (store.gate.asOf() ?? 0) > Number(restoredAt)) believe(store);
}
