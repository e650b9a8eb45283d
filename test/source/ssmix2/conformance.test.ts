import { afterEach } from 'vitest';
import { describeSource, type PeerWorld } from '../../conformance/source.ts';
import { removeRigs, rig } from './host.ts';
import { Tree } from './tree.ts';

afterEach(removeRigs);

describeSource('ssmix2', async (): Promise<PeerWorld> => {
  const tree = new Tree();
  const { source, intake, events } = rig({}, [tree]);
  let written = 0;
  return {
    source,
    mode: 'poll',
    intake,
    events,
    secrets: ['999', '山本', tree.root],
    offer: async (count) => {
      const files = Array.from({ length: count }, () => {
        written++;
        const orderNumber = String(written).padStart(15, '0');
        // Old and new care dates, so that both passes have something to find.
        const careDate = written % 2 === 0 ? '20240229' : '20261120';
        return tree.put({ patientId: `999${1000 + (written % 5)}`, careDate, orderNumber });
      });
      return { bytes: files.map(({ bytes }) => bytes), acknowledged: 0 };
    },
    breakPeer: async () => tree.remove(),
    close: async () => tree.remove(),
  };
});
