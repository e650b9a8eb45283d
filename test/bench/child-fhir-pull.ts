/**
 * One poll of a FHIR server by the source, across the gate into an encrypted buffer. Says
 * `{"resources": …, "seconds": …}`.
 *
 * `node child-fhir-pull.ts FOLDER URL RESOURCES SINCE`
 */
import { systemClock } from '../../agent/base/clock.ts';
import { sourceCommonShape } from '../../agent/source/define.ts';
import { fhir } from '../../agent/source/fhir/index.ts';
import { Flow, longAgo, nameOf } from '../flow/harness.ts';
import { numberOf, patients } from './fhir-pages.ts';

const [folder = '', url = '', resources = '', since = ''] = process.argv.slice(2);
const flow = new Flow({ folder });
const { store, time } = flow;
flow.filed();
store.db
  .transaction(() => {
    for (let patient = 0; patient < patients; patient++) {
      const subject = store.subjects.ensure(nameOf(numberOf(patient)));
      store.register.addNotice({ subject, version: 'notice-article-57', notifiedOn: longAgo }, time.now());
    }
  })
  .immediate();
const signal = new AbortController().signal;
// A result a second: a window holds as many as are taken without being halved.
const options = fhir.options
  .safeExtend(sourceCommonShape)
  .parse({ name: 'ehr', url, since, types: ['Patient', 'Observation'], count: 1000, windowMax: '5h' });
const create = await fhir.load();
const source = create(options, {
  name: 'ehr',
  facility: store.facility,
  intake: flow.intake('ehr'),
  clock: systemClock,
  signal,
  report: ({ name }) => {
    throw new Error(`the poll reported ${name}`);
  },
});
const startedAt = performance.now();
const tally = await source.poll?.(signal, () => undefined);
const seconds = (performance.now() - startedAt) / 1000;
await source.stop();
flow.close();
if (tally?.outcomes.kept !== Number(resources) + patients) throw new Error('resources are missing');
process.stdout.write(`${JSON.stringify({ resources: tally.outcomes.kept, seconds })}\n`);
