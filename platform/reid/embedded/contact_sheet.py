"""A picture of what was rendered: scenes with their skeletons."""

import json
from pathlib import Path

from PIL import Image, ImageDraw

MARGIN = 2
BONE_COLOURS = {"left": (80, 220, 120), "right": (250, 120, 80), "": (250, 230, 90)}


def _sheet(cells: list[list[Image.Image]], width: int, height: int) -> Image.Image:
    columns = max(len(row) for row in cells)
    sheet = Image.new("RGB", (columns * (width + MARGIN) + MARGIN, len(cells) * (height + MARGIN) + MARGIN), "white")
    for row, images in enumerate(cells):
        for column, image in enumerate(images):
            sheet.paste(image, (MARGIN + column * (width + MARGIN), MARGIN + row * (height + MARGIN)))
    return sheet


def keypoint_sheet(root: Path, *, split: str = "val2017", scenes: int = 12, columns: int = 4) -> Image.Image:
    """Scenes in COCO's format with boxes and skeletons drawn in: the left side green, the right one orange.

    Hidden keypoints are hollow.
    """
    content = json.loads((root / "annotations" / f"person_keypoints_{split}.json").read_text())
    category = content["categories"][0]
    pictures: list[Image.Image] = []
    for image in content["images"][:scenes]:
        picture = Image.open(root / split / image["file_name"])
        draw = ImageDraw.Draw(picture)
        for annotation in content["annotations"]:
            if annotation["image_id"] != image["id"]:
                continue
            x, y, width, height = annotation["bbox"]
            draw.rectangle((x, y, x + width, y + height), outline="red" if annotation["iscrowd"] else "white")
            _draw_skeleton(draw, annotation["keypoints"], category["keypoints"], category["skeleton"])
        pictures.append(picture)
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    return _sheet(rows, 256, 256)


def _draw_skeleton(draw: ImageDraw.ImageDraw, keypoints: list[float], names: list[str], bones: list[list[int]]) -> None:
    points = list(zip(keypoints[0::3], keypoints[1::3], keypoints[2::3], strict=True))
    for start, end in bones:
        if points[start - 1][2] and points[end - 1][2]:
            sides = {names[index - 1].rpartition("_")[0] for index in (start, end)}
            colour = BONE_COLOURS[sides.pop() if len(sides) == 1 else ""]
            draw.line((*points[start - 1][:2], *points[end - 1][:2]), fill=colour)
    for x, y, visibility in points:
        if visibility:
            fill = "white" if visibility == 2 else None
            draw.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=fill, outline="white")
