"""Other tools on a video, for bench/extract.py. Needs a Python with scenedetect, imagehash and OpenCV.

    PYTHON bench/peers.py scenes VIDEO           PySceneDetect's content detector, used as in its manual
    PYTHON bench/peers.py hashes VIDEO FOLDER    a plain loop: sharpness and brightness of all frames, a JPEG of each
                                                 whose difference hash differs by more than 4 bits from the last kept

Prints the number of frames read and of scenes or JPEGs found. Imports nothing of EveryFrame.
"""

import csv
import sys
from pathlib import Path

import cv2

HASH_BITS = 4
EDGE_PIXELS = 1344
QUALITY = 85


def scenes(path: str) -> tuple[int, int]:
    """The number of frames, and of scenes found."""
    from scenedetect import ContentDetector, SceneManager, open_video  # only this function needs it

    video = open_video(path)
    manager = SceneManager()
    manager.add_detector(ContentDetector())
    frames = manager.detect_scenes(video)
    return frames, len(manager.get_scene_list(start_in_scene=True))


def hashes(path: str, folder: str) -> tuple[int, int]:
    """The number of frames, and of JPEGs kept."""
    import imagehash  # only this function needs it
    from PIL import Image

    video = cv2.VideoCapture(path)
    frames = kept = 0
    last = None
    with Path(folder, "signals.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        while True:
            is_read, frame = video.read()
            if not is_read:
                break
            gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
            rows.writerow([frames, cv2.Laplacian(gray, cv2.CV_64F).var(), gray.mean()])
            seen = imagehash.dhash(Image.fromarray(gray))
            if last is None or seen - last > HASH_BITS:
                last = seen
                scale = min(1.0, EDGE_PIXELS / max(frame.shape[:2]))
                small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                cv2.imwrite(f"{folder}/{frames:06d}.jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
                kept += 1
            frames += 1
    return frames, kept


if __name__ == "__main__":
    print(*{"scenes": scenes, "hashes": hashes}[sys.argv[1]](*sys.argv[2:]))
