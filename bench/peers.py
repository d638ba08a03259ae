"""What others do with a film, for bench/extract.py; run by a Python that has scenedetect, imagehash and OpenCV.

    PYTHON bench/peers.py scenes FILM           PySceneDetect's content detector, as its manual shows it
    PYTHON bench/peers.py hashes FILM FOLDER    the plain loop: sharpness and brightness of all frames, a JPEG of each
                                                whose difference hash is more than 4 bits from that of the last one kept

Prints the frames it looked at and how many scenes or JPEGs came of them. It imports nothing of EveryFrame.
"""

import csv
import sys
from pathlib import Path

import cv2

HASH_BITS = 4
EDGE_PIXELS = 1344
QUALITY = 85


def scenes(film: str) -> tuple[int, int]:
    """Frames, and scenes found."""
    from scenedetect import ContentDetector, SceneManager, open_video  # the other has no need of it

    video = open_video(film)
    manager = SceneManager()
    manager.add_detector(ContentDetector())
    frames = manager.detect_scenes(video)
    return frames, len(manager.get_scene_list(start_in_scene=True))


def hashes(film: str, folder: str) -> tuple[int, int]:
    """Frames, and JPEGs kept."""
    import imagehash  # the other has no need of it
    from PIL import Image

    video = cv2.VideoCapture(film)
    frames = kept = 0
    last = None
    with Path(folder, "signals.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        while True:
            is_read, picture = video.read()
            if not is_read:
                break
            gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
            rows.writerow([frames, cv2.Laplacian(gray, cv2.CV_64F).var(), gray.mean()])
            seen = imagehash.dhash(Image.fromarray(gray))
            if last is None or seen - last > HASH_BITS:
                last = seen
                scale = min(1.0, EDGE_PIXELS / max(picture.shape[:2]))
                small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                cv2.imwrite(f"{folder}/{frames:06d}.jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
                kept += 1
            frames += 1
    return frames, kept


if __name__ == "__main__":
    print(*{"scenes": scenes, "hashes": hashes}[sys.argv[1]](*sys.argv[2:]))
