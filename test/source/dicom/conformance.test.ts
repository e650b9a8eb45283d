import { once } from 'node:events';
import { createServer } from 'node:net';
import { describeSource } from '../../conformance/source.ts';
import { instance, type Instance, studyUid } from '../../peers/dicom/dataset.ts';
import { freePort } from '../../peers/dicom/dcmtk.ts';
import { RawScu } from '../../peers/dicom/scu.ts';
import { makeSource } from './host.ts';

describeSource('dicom, receiving', async () => {
  const ownPort = await freePort();
  const { source, intake, events } = makeSource({ listen: `127.0.0.1:${ownPort}` });
  const squatter = createServer();
  let count = 0;
  let unacknowledged: Instance[] = [];

  /** One association, one after another, as a modality does. */
  async function send(port: number, instances: readonly Instance[]) {
    const scu = await RawScu.associate(port);
    const left: Instance[] = [];
    for (const each of instances) if ((await scu.store(each)) !== '0x0000') left.push(each);
    scu.destroy();
    unacknowledged = left;
    return { bytes: instances.map(({ dataSet }) => dataSet), acknowledged: instances.length - left.length };
  }

  return {
    source,
    mode: 'listen',
    intake,
    events,
    secrets: ['00012345', 'Kakehashi', studyUid(1)],
    offer: (added, port = ownPort) =>
      send(
        port,
        Array.from({ length: added }, () => instance({ number: ++count })),
      ),
    repeat: (port) => send(port, unacknowledged),
    /** Stopped, and somebody else has its address. */
    breakPeer: async () => {
      await source.stop();
      squatter.listen(ownPort, '127.0.0.1');
      await once(squatter, 'listening');
    },
    close: async () => {
      if (!squatter.listening) return;
      const closed = once(squatter, 'close');
      squatter.close();
      await closed;
    },
  };
});
