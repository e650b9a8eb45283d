/**
 * A standardized storage as a hospital has it after years, and a connector's state that knows all of it: every file was
 * handed over, and nothing has changed since. The catalogue is written with the source's own rows, as its first scan
 * would have left them; a scan that finds anything to do in it fails the bench.
 *
 * `node child-storage.ts FOLDER PATIENTS` makes FOLDER/tree and FOLDER/state.
 */
import { linkSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DayRow } from '../../agent/source/ssmix2/catalogue.ts';
import { signatureOfSync, toPath } from '../../agent/source/ssmix2/folder.ts';
import { entryKey } from '../../agent/source/ssmix2/life-cycle.ts';
import { parseFileName } from '../../agent/source/ssmix2/names.ts';
import { Flow, longAgo, nameOf } from '../flow/harness.ts';
import { careDates, dataTypesOf, pathOf, patientIds, storageSource } from './storage.ts';

/** A file system allows a file 65,000 names. */
const linksMax = 60_000;
/** Rows committed together while filling. */
const patientsPerTransaction = 500;

const [folder = '', patients = ''] = process.argv.slice(2);
const root = join(folder, 'tree');
const ids = patientIds(Number(patients));
mkdirSync(root, { recursive: true });
mkdirSync(join(folder, 'state'));
let linked = 0;
for (const id of ids) grow(id);
catalogue();
process.stdout.write('{}\n');

function grow(id: string): void {
  for (const date of careDates(id)) {
    for (const { dataType, files } of dataTypesOf(id, date)) {
      const path = join(root, pathOf(id), date, dataType);
      mkdirSync(path, { recursive: true });
      for (const file of files) linkSync(template(), join(path, file));
    }
  }
}

/** Nobody reads the content of what is known, so that a million names need no million files behind them. */
function template(): string {
  const path = join(folder, `content-${Math.floor(linked++ / linksMax)}`);
  if ((linked - 1) % linksMax === 0) writeFileSync(path, 'MSH|^~\\&|HIS\r');
  return path;
}

function catalogue(): void {
  const flow = new Flow({ folder: join(folder, 'state') });
  flow.filed();
  const source = flow.store.names.source(storageSource).id;
  for (let from = 0; from < ids.length; from += patientsPerTransaction) {
    const some = ids.slice(from, from + patientsPerTransaction);
    flow.store.db.transaction(() => some.forEach((id) => remember(flow, source, id))).immediate();
  }
  flow.close();
}

function remember({ store, time }: Flow, source: number, id: string): void {
  const subject = store.subjects.ensure(nameOf(id));
  store.register.addNotice({ subject, version: 'notice-article-57', notifiedOn: longAgo }, time.now());
  for (const date of careDates(id)) {
    const row = new DayRow();
    for (const { dataType, files } of dataTypesOf(id, date)) {
      for (const file of files) {
        const name = parseFileName(file);
        if (!name) throw new Error('a file of the bench has a name that follows no grammar');
        row.put(dataType, entryKey(name), { flag: name.flag, fate: 'offered' });
      }
      row.sign(dataType, signatureOfSync(toPath(join(root, pathOf(id), date, dataType))).text);
    }
    store.memory.apply(source, { kind: 'day', key: `${root}\n${pathOf(id)}/${date}`, value: row.encode(), mark: 1 });
  }
}
