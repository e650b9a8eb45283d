/** A whole pull from DCMTK's own archive, which answers C-FIND and sends by C-MOVE to our acceptor. */
import { expect, it } from 'vitest';
import { hourMs } from '../../base/fake-clock.ts';
import { Dcmqrscp } from '../../peers/dicom/dcmqrscp.ts';
import { instance } from '../../peers/dicom/dataset.ts';
import { freePort } from '../../peers/dicom/dcmtk.ts';
import { startSource } from './host.ts';

it('takes every instance that dcmqrscp holds, and captures the studies', async () => {
  const destination = { aeTitle: 'KAKEHASHI', port: await freePort() };
  const archive = await Dcmqrscp.start(destination);
  try {
    const held = [
      ...[1, 2, 3].map((number) => instance({ study: 1, number })),
      instance({ study: 1, series: 2, sopClass: 'mr', modality: 'MR' }),
      instance({ study: 2, patientId: '00000007' }),
    ];
    await archive.put(...held);
    const query = { host: '127.0.0.1', port: archive.port, aeTitle: archive.aeTitle };
    const { source, intake, clock } = await startSource({ listen: `127.0.0.1:${destination.port}`, query });
    const { signal } = new AbortController();
    expect(await source.poll?.(signal, () => undefined)).toMatchObject({ offered: held.length, complete: true });
    expect(intake.taken.map(({ facts }) => facts.nativeKey).toSorted()).toEqual(
      held.map(({ sopInstanceUid }) => sopInstanceUid).toSorted(),
    );
    clock.freeze(hourMs);
    await source.poll?.(signal, () => undefined);
    expect(Object.keys(intake.memory()).map((name) => name.split('\0')[0])).toEqual(['captured', 'captured']);
    expect(intake.taken).toHaveLength(held.length);
    await source.stop();
  } finally {
    await archive.close();
  }
});
